package org.ghostedge.demo;

import android.app.Activity;
import android.content.ActivityNotFoundException;
import android.content.Intent;
import android.net.Uri;
import android.os.Bundle;
import android.view.View;
import android.view.WindowManager;
import android.widget.TextView;

/** What the screens share: a layout with texts and buttons, and asking for a document. */
abstract class Screen extends Activity implements View.OnClickListener {
    private static final int DOCUMENT = 1;

    private final int layout;

    Screen(int layout) {
        this.layout = layout;
    }

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        setContentView(layout);
    }

    final void keepOn() {
        getWindow().addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON);
    }

    final TextView text(int id) {
        return (TextView) findViewById(id);
    }

    final void listen(int... ids) {
        for (int id : ids) {
            findViewById(id).setOnClickListener(this);
        }
    }

    /** Whether the phone has something to choose a document with; {@link #chosen} gets it. */
    final boolean ask(String type) {
        Intent intent = new Intent(Intent.ACTION_OPEN_DOCUMENT);
        intent.addCategory(Intent.CATEGORY_OPENABLE);
        intent.setType(type);
        try {
            startActivityForResult(intent, DOCUMENT);
            return true;
        } catch (ActivityNotFoundException exc) {
            return false;
        }
    }

    /** The document that was asked for. */
    void chosen(Uri uri) {
        throw new IllegalStateException("nothing was asked for");
    }

    @Override
    protected void onActivityResult(int request, int result, Intent data) {
        super.onActivityResult(request, result, data);
        if (request == DOCUMENT && result == RESULT_OK && data != null && data.getData() != null) {
            chosen(data.getData());
        }
    }
}
