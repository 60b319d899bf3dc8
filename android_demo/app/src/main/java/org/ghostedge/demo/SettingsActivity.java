package org.ghostedge.demo;

import android.net.Uri;
import android.os.Bundle;
import android.view.View;
import android.widget.TextView;

/** Choose the model and how it runs; add a model from the phone's storage. */
public final class SettingsActivity extends Screen {
    private Choices choices;
    private TextView status;

    public SettingsActivity() {
        super(R.layout.settings);
    }

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        status = text(R.id.status);
        listen(R.id.add);
        choices = new Choices(this);
        if (choices.model() == null) {
            status.setText(choices.howToAdd());
        }
    }

    @Override
    protected void onPause() {
        choices.save();
        super.onPause();
    }

    @Override
    public void onClick(View view) {
        if (!ask("*/*")) { // Android knows no type of .tflite files
            status.setText(choices.howToAdd());
        }
    }

    @Override
    void chosen(final Uri uri) {
        new Thread("add a model") {
            @Override
            public void run() {
                String text;
                try {
                    text = getString(R.string.model_added, new Models(SettingsActivity.this).add(uri));
                } catch (Exception | OutOfMemoryError exc) {
                    text = getString(R.string.model_refused, Failures.text(SettingsActivity.this, exc));
                }
                show(text);
            }
        }.start();
    }

    private void show(final String text) {
        runOnUiThread(new Runnable() {
            @Override
            public void run() {
                status.setText(text);
                choices.refresh();
            }
        });
    }
}
