package org.ghostedge.demo;

import android.content.Intent;
import android.os.Bundle;
import android.util.Log;
import android.view.View;
import android.widget.Button;
import android.widget.ProgressBar;
import android.widget.TextView;
import java.io.File;
import java.util.LinkedHashMap;
import java.util.Map;
import org.ghostedge.core.Cancellation;
import org.ghostedge.core.DemoException;
import org.ghostedge.core.Extras;
import org.ghostedge.core.Progress;
import org.ghostedge.core.WholeFile;

/**
 * A screen with one run that takes long: started here or by adb, shown, cancelled.
 *
 * <p>A run writes one file, whole; where it fails, a file of the same name with .error behind it says why, in one line.
 */
abstract class RunActivity extends Screen implements Progress {
    /** How often the text changes: what people can read. */
    private static final long SHOW_EVERY_NS = 500_000_000;

    /** What was asked for, without a mistake in it. */
    abstract static class Work {
        final File file;

        /** @param file that {@link #run} writes */
        Work(File file) {
            this.file = file;
        }

        /** Writes the file, on a thread of its own. Returns: what to say about it; empty for nothing. */
        abstract String run(Cancellation cancellation) throws DemoException;
    }

    private final int cancelled;
    private final int own;

    Choices choices;
    TextView status;
    private ProgressBar bar;
    private Button start;
    private long shown;
    /** Of the run that is going on; null when there is none. */
    private Cancellation cancellation;

    /**
     * @param cancelled what a run says that its user cancelled
     * @param own the view of this screen alone that chooses something
     */
    RunActivity(int layout, int cancelled, int own) {
        super(layout);
        this.cancelled = cancelled;
        this.own = own;
    }

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        keepOn();
        choices = new Choices(this);
        start = (Button) findViewById(R.id.start);
        bar = (ProgressBar) findViewById(R.id.progress);
        status = text(R.id.status);
        listen(R.id.start);
        prepare();
        if (choices.model() == null) {
            status.setText(choices.howToAdd());
        }
        if (state == null) {
            startBy(getIntent());
        }
    }

    @Override
    protected void onNewIntent(Intent intent) {
        super.onNewIntent(intent);
        startBy(intent);
    }

    /** Makes what this screen alone has. */
    abstract void prepare();

    /** Adds what is chosen on this screen alone. */
    abstract void putOwnInto(Map<String, Object> extras);

    /** What extras ask for. Throws: DemoException, what is wrong with them. */
    abstract Work work(Extras extras) throws DemoException;

    /** The file that extras with a mistake would have written; null where they do not say. */
    File fileOf(Map<String, Object> extras) {
        return null;
    }

    /** Starts what adb asks for; an intent without extras opens the screen only. */
    private void startBy(Intent intent) {
        Bundle extras = intent.getExtras();
        if (extras == null || extras.isEmpty()) {
            return;
        }
        Map<String, Object> map = new LinkedHashMap<>();
        for (String name : extras.keySet()) {
            map.put(name, extras.get(name));
        }
        begin(map);
    }

    @Override
    public void onClick(View view) {
        if (cancellation != null) {
            cancel(cancelled);
        } else if (choices.model() == null) {
            status.setText(choices.howToAdd());
        } else {
            Map<String, Object> map = new LinkedHashMap<>();
            choices.putInto(map);
            putOwnInto(map);
            begin(map);
        }
    }

    private void begin(Map<String, Object> map) {
        try {
            if (cancellation != null) {
                throw new DemoException(getString(R.string.already_running));
            }
            final Work work = work(new Extras(map));
            errorFile(work.file).delete();
            final Cancellation mine = new Cancellation();
            cancellation = mine;
            running(true);
            new Thread(getClass().getSimpleName()) {
                @Override
                public void run() {
                    carryOut(work, mine);
                }
            }.start();
        } catch (DemoException exc) {
            status.setText(exc.getMessage());
            report(fileOf(map), exc.getMessage());
        }
    }

    private void carryOut(Work work, Cancellation mine) {
        String text;
        try {
            String said = work.run(mine);
            text = said + (said.isEmpty() ? "" : "\n") + getString(R.string.written, work.file);
            Log.i(Failures.TAG, text);
        } catch (Exception | OutOfMemoryError exc) {
            text = Failures.text(this, exc);
            report(work.file, text);
        }
        finished(text);
    }

    /** Leaves the reason where adb finds it. */
    private static void report(File file, String text) {
        Log.e(Failures.TAG, text);
        if (file != null) {
            try {
                WholeFile.write(errorFile(file), text + "\n");
            } catch (DemoException exc) {
                Log.e(Failures.TAG, exc.getMessage());
            }
        }
    }

    private static File errorFile(File file) {
        return new File(file.getParentFile(), file.getName() + ".error");
    }

    private void finished(final String text) {
        runOnUiThread(new Runnable() {
            @Override
            public void run() {
                cancellation = null;
                running(false);
                status.setText(text);
            }
        });
    }

    final void cancel(int reason) {
        if (cancellation != null) {
            cancellation.cancel(getString(reason));
        }
    }

    private void running(boolean now) {
        choices.enable(!now);
        findViewById(own).setEnabled(!now);
        start.setText(now ? R.string.cancel : R.string.start);
        bar.setVisibility(now ? View.VISIBLE : View.GONE);
    }

    @Override
    public final void progress(final String text, final int done, final int total) {
        long now = System.nanoTime();
        if (done > 0 && now - shown < SHOW_EVERY_NS) {
            return;
        }
        shown = now;
        runOnUiThread(new Runnable() {
            @Override
            public void run() {
                bar.setIndeterminate(total == 0);
                bar.setMax(total);
                bar.setProgress(done);
                status.setText(total == 0 ? text : getString(R.string.progress, text, done, total));
            }
        });
    }
}
