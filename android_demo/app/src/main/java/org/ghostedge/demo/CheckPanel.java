package org.ghostedge.demo;

import android.app.Activity;
import android.view.View;
import android.widget.Button;
import android.widget.TextView;
import org.ghostedge.core.Cancellation;
import org.ghostedge.core.DemoException;
import org.ghostedge.core.Progress;
import org.ghostedge.core.Verdict;

/**
 * The check of a model's answers on a screen with the views results and check: how far it is, and what it found.
 *
 * <p>The button skips a check that goes on, and repeats one that was skipped or found wrong answers.
 */
final class CheckPanel implements Progress, View.OnClickListener {
    /** How often the text changes: a screen reader says it each time. */
    private static final long SHOW_EVERY_NS = 1_000_000_000;

    private final Activity activity;
    private final Runnable again;
    private final TextView results;
    private final Button button;
    private long shown;
    /** Of the check that goes on, or comes next. */
    private volatile Cancellation cancellation = new Cancellation();
    private volatile boolean checking;
    private volatile boolean forget;
    private volatile String warning = "";
    private volatile String note = "";

    /** @param again lets the model be checked once more; on the user interface's thread, as all but {@link #check} */
    CheckPanel(Activity activity, Runnable again) {
        this.activity = activity;
        this.again = again;
        results = (TextView) activity.findViewById(R.id.results);
        button = (Button) activity.findViewById(R.id.check);
        button.setOnClickListener(this);
    }

    /** Before a model is loaded. Returns: what stops its check. */
    Cancellation open() {
        warning = "";
        note = "";
        button.setVisibility(View.GONE);
        cancellation = new Cancellation();
        return cancellation;
    }

    /** When the screen is left: a check that goes on ends soon, and is not remembered. */
    void close() {
        cancellation.cancel(activity.getString(R.string.check_skipped));
    }

    @Override
    public void onClick(View view) {
        if (checking) {
            close();
        } else {
            forget = true;
            again.run();
        }
    }

    /** Checks a model that was just loaded, on its thread, and shows what was found. */
    void check(LoadedModel model, Cancellation mine) {
        checking = true;
        boolean repeatable = true;
        try {
            if (forget) {
                forget = false;
                model.forgetCheck();
            }
            Verdict verdict = model.check(activity, mine, this);
            repeatable = verdict != null && verdict.reason != null;
            if (repeatable) {
                warning = activity.getString(R.string.check_wrong, verdict.reason);
            } else if (verdict != null) {
                note = activity.getString(R.string.check_right, verdict.right, verdict.images, verdict.nearness);
            }
        } catch (DemoException exc) { // an engine that fails does so again with the picture
            note = activity.getString(R.string.check_none, exc.getMessage());
        } finally {
            checking = false;
        }
        if (mine == cancellation) {
            show(warning + note, repeatable, R.string.check_again);
        }
    }

    /** Stands above each answer; empty where nothing is wrong. */
    String warning() {
        return warning.isEmpty() ? "" : warning + "\n\n";
    }

    /** Stands below each answer; empty where nothing is known. */
    String note() {
        return note.isEmpty() ? "" : "\n" + note;
    }

    @Override
    public void progress(String text, int done, int total) {
        long now = System.nanoTime();
        if (done == 0 || now - shown >= SHOW_EVERY_NS) {
            shown = now;
            show(activity.getString(R.string.progress, text, done, total), true, R.string.skip_check);
        }
    }

    private void show(final String text, final boolean offer, final int action) {
        activity.runOnUiThread(new Runnable() {
            @Override
            public void run() {
                results.setText(text.isEmpty() ? activity.getString(R.string.starting) : text);
                button.setText(action);
                button.setVisibility(offer ? View.VISIBLE : View.GONE);
            }
        });
    }
}
