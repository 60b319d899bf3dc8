package org.ghostedge.demo;

import android.content.Intent;
import android.graphics.Bitmap;
import android.graphics.Matrix;
import android.net.Uri;
import android.os.Bundle;
import android.view.View;
import android.widget.ImageView;
import android.widget.TextView;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.ghostedge.core.Cancellation;
import org.ghostedge.core.DemoException;
import org.ghostedge.core.Pixels;

/** Classify one photo: chosen here, or shared by another app. */
public final class PhotoActivity extends Screen {
    private static final String URI = "uri";

    private final ExecutorService worker = Executors.newSingleThreadExecutor();
    private ImageView picture;
    private TextView results;
    private TextView note;
    private CheckPanel checks;
    private Uri uri;

    public PhotoActivity() {
        super(R.layout.photo);
    }

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        picture = (ImageView) findViewById(R.id.picture);
        results = text(R.id.results);
        note = text(R.id.note);
        checks = new CheckPanel(this, new Runnable() {
            @Override
            public void run() {
                show(uri);
            }
        });
        listen(R.id.choose);
        if (state != null) {
            show((Uri) state.getParcelable(URI));
        } else if (Intent.ACTION_SEND.equals(getIntent().getAction())) {
            Object shared = getIntent().getParcelableExtra(Intent.EXTRA_STREAM);
            show(shared instanceof Uri ? (Uri) shared : null);
        }
    }

    @Override
    protected void onSaveInstanceState(Bundle state) {
        super.onSaveInstanceState(state);
        state.putParcelable(URI, uri);
    }

    @Override
    protected void onDestroy() {
        checks.close();
        worker.shutdown();
        super.onDestroy();
    }

    @Override
    public void onClick(View view) {
        if (!ask("image/*")) {
            results.setText(R.string.photo_hint);
        }
    }

    @Override
    void chosen(Uri document) {
        show(document);
    }

    private void show(Uri chosen) {
        uri = chosen;
        if (chosen == null) {
            return;
        }
        final Pictures.Source source = Pictures.of(this, chosen);
        final Cancellation cancellation = checks.open();
        results.setText(R.string.starting);
        note.setText("");
        worker.execute(new Runnable() {
            @Override
            public void run() {
                classify(source, cancellation);
            }
        });
    }

    private void classify(Pictures.Source source, Cancellation cancellation) {
        String text;
        String details = "";
        Bitmap preview = null;
        try {
            preview = upright(source);
            long started = System.nanoTime();
            Pixels pixels = decode(source);
            double decodeMs = (System.nanoTime() - started) / 1e6;
            LoadedModel model = LoadedModel.chosen(this);
            try {
                checks.check(model, cancellation);
                model.classifier.classify(pixels);
                text = checks.warning() + model.results(this);
                details = getString(R.string.photo_times, decodeMs, model.classifier.preprocessMs(),
                        model.classifier.inferenceMs()) + "\n" + model.title(this)
                        + checks.note();
            } finally {
                model.close();
            }
        } catch (Exception | OutOfMemoryError exc) {
            text = Failures.text(this, exc);
        }
        present(text, details, preview);
    }

    private Pixels decode(Pictures.Source source) throws DemoException {
        try {
            return Pictures.decode(source, true);
        } catch (DemoException exc) {
            throw new DemoException(getString(R.string.photo_unreadable, exc.getMessage()), exc);
        }
    }

    private static Bitmap upright(Pictures.Source source) {
        try {
            Bitmap stored = Pictures.preview(source);
            Matrix matrix = new Matrix();
            matrix.postRotate(Pictures.previewDegrees(source));
            return stored == null ? null
                    : Bitmap.createBitmap(stored, 0, 0, stored.getWidth(), stored.getHeight(), matrix, true);
        } catch (DemoException exc) {
            return null; // decode() says what is wrong
        }
    }

    private void present(final String text, final String details, final Bitmap preview) {
        runOnUiThread(new Runnable() {
            @Override
            public void run() {
                results.setText(text);
                note.setText(details);
                picture.setImageBitmap(preview);
            }
        });
    }
}
