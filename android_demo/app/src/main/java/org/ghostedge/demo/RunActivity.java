package org.ghostedge.demo;

import android.content.Intent;
import android.os.Bundle;
import android.view.View;
import android.widget.Button;
import android.widget.ProgressBar;
import android.widget.TextView;
import org.ghostedge.core.Cancellation;
import org.ghostedge.core.Progress;

/** A screen with one run that takes long: started here or by adb, shown, cancelled. */
abstract class RunActivity extends Screen implements Progress {
    private final int cancelled;
    private final int own;

    Choices choices;
    ProgressBar bar;
    TextView status;
    private Button start;
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
        if (state == null) {
            startBy(getIntent());
        }
    }

    @Override
    protected void onNewIntent(Intent intent) {
        super.onNewIntent(intent);
        startBy(intent);
    }

    @Override
    public void onClick(View view) {
        if (cancellation != null) {
            cancel(cancelled);
        } else if (choices.model() == null) {
            status.setText(choices.howToAdd());
        } else {
            begin();
        }
    }

    /** Makes what this screen alone has. */
    abstract void prepare();

    /** Starts what adb asks for; an intent without extras opens the screen only. */
    abstract void startBy(Intent intent);

    /** Starts what is chosen on the screen. */
    abstract void begin();

    final boolean isRunning() {
        return cancellation != null;
    }

    /** Marks the beginning of a run, which looks at what is returned. */
    final Cancellation started() {
        cancellation = new Cancellation();
        running(true);
        return cancellation;
    }

    final void finished(final String text) {
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
}
