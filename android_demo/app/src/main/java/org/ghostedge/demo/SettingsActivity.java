package org.ghostedge.demo;

import android.app.Activity;
import android.content.ActivityNotFoundException;
import android.content.Intent;
import android.net.Uri;
import android.os.Bundle;
import android.view.View;
import android.widget.TextView;

/** Choose the model and how it runs; add a model from the phone's storage. */
public final class SettingsActivity extends Activity implements View.OnClickListener {
    private static final int ADD = 1;

    private Choices choices;
    private TextView status;

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        setContentView(R.layout.settings);
        status = (TextView) findViewById(R.id.status);
        findViewById(R.id.add).setOnClickListener(this);
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
        Intent intent = new Intent(Intent.ACTION_OPEN_DOCUMENT);
        intent.addCategory(Intent.CATEGORY_OPENABLE);
        intent.setType("*/*"); // Android knows no type of .tflite files
        try {
            startActivityForResult(intent, ADD);
        } catch (ActivityNotFoundException exc) {
            status.setText(choices.howToAdd());
        }
    }

    @Override
    protected void onActivityResult(int request, int result, Intent data) {
        super.onActivityResult(request, result, data);
        final Uri uri = data == null ? null : data.getData();
        if (request != ADD || result != RESULT_OK || uri == null) {
            return;
        }
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
