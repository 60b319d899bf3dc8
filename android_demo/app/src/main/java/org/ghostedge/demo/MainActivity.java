package org.ghostedge.demo;

import android.Manifest;
import android.content.Intent;
import android.content.pm.PackageManager;
import android.graphics.Matrix;
import android.graphics.RectF;
import android.graphics.SurfaceTexture;
import android.hardware.camera2.CameraAccessException;
import android.os.Bundle;
import android.util.Size;
import android.view.Surface;
import android.view.TextureView;
import android.view.View;
import android.widget.TextView;
import org.ghostedge.core.Cancellation;
import org.ghostedge.core.DemoException;
import org.ghostedge.core.YuvPixels;

/** The camera's picture and, all the time, what the model sees in it. */
public final class MainActivity extends Screen implements TextureView.SurfaceTextureListener {
    private static final int CAMERA = 1;
    /** How often the text changes: what people can read. */
    private static final long SHOW_EVERY_NS = 250_000_000;

    private TextureView preview;
    private TextView results;
    private TextView note;
    private View allow;
    private CheckPanel checks;
    /** Of the session; null without one. */
    private Frames frames;
    private CameraSession session;
    private boolean resumed;
    private boolean asked;

    public MainActivity() {
        super(R.layout.main);
    }

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        keepOn();
        preview = (TextureView) findViewById(R.id.preview);
        results = text(R.id.results);
        note = text(R.id.note);
        allow = findViewById(R.id.allow);
        asked = state != null; // a turned screen does not ask again
        checks = new CheckPanel(this, new Runnable() {
            @Override
            public void run() {
                if (frames != null) {
                    frames.wanted = checks.open();
                }
            }
        });
        listen(R.id.allow, R.id.photo, R.id.model, R.id.benchmark, R.id.parity);
        preview.setSurfaceTextureListener(this);
    }

    @Override
    public void onClick(View view) {
        int id = view.getId();
        if (id == R.id.allow) {
            requestPermissions(new String[] {Manifest.permission.CAMERA}, CAMERA);
        } else if (id == R.id.photo) {
            startActivity(new Intent(this, PhotoActivity.class));
        } else if (id == R.id.model) {
            startActivity(new Intent(this, SettingsActivity.class));
        } else if (id == R.id.benchmark) {
            startActivity(new Intent(this, BenchmarkActivity.class));
        } else if (id == R.id.parity) {
            startActivity(new Intent(this, ParityActivity.class));
        }
    }

    @Override
    protected void onResume() {
        super.onResume();
        resumed = true;
        boolean allowed = checkSelfPermission(Manifest.permission.CAMERA) == PackageManager.PERMISSION_GRANTED;
        boolean present = getPackageManager().hasSystemFeature(PackageManager.FEATURE_CAMERA_ANY);
        allow.setVisibility(present && !allowed ? View.VISIBLE : View.GONE);
        if (!present) {
            results.setText(R.string.camera_absent);
        } else if (allowed) {
            start();
        } else if (asked) {
            results.setText(R.string.camera_refused);
        } else {
            asked = true;
            requestPermissions(new String[] {Manifest.permission.CAMERA}, CAMERA);
        }
    }

    @Override
    protected void onPause() {
        resumed = false;
        stop();
        super.onPause();
    }

    private void start() {
        if (!resumed || session != null || !preview.isAvailable()) {
            return;
        }
        results.setText(R.string.starting);
        note.setText("");
        frames = new Frames(checks.open());
        int display = 90 * getWindowManager().getDefaultDisplay().getRotation();
        try {
            session = new CameraSession(this, preview.getSurfaceTexture(), display, frames);
            transform();
        } catch (DemoException exc) {
            results.setText(Failures.text(this, exc));
        } catch (CameraAccessException exc) {
            Failures.text(this, exc);
            results.setText(R.string.camera_in_use);
        } catch (SecurityException exc) {
            results.setText(R.string.camera_refused);
        } catch (RuntimeException exc) { // what a vendor's camera service throws is an open set
            results.setText(Failures.text(this, exc));
        }
    }

    private void stop() {
        if (session != null) {
            checks.close();
            session.close();
            session = null;
            frames = null;
        }
    }

    /**
     * Classifies each frame on the camera's thread; its model is loaded with the first and freed with the last.
     *
     * <p>Before its first answer the model's answers are checked; the camera's picture goes on meanwhile.
     */
    private final class Frames implements CameraSession.Listener {
        /** The check that comes before the next answer; null for none. */
        private volatile Cancellation wanted;
        private LoadedModel model;
        private boolean failed;
        private long shown;

        Frames(Cancellation check) {
            wanted = check;
        }

        @Override
        public void onFrame(YuvPixels frame) {
            if (failed) {
                return;
            }
            try {
                if (model == null) {
                    model = LoadedModel.chosen(MainActivity.this);
                }
                Cancellation check = wanted;
                if (check != null) {
                    wanted = null;
                    checks.check(model, check);
                    shown = System.nanoTime();
                    return;
                }
                model.classifier.classify(frame);
                long now = System.nanoTime();
                if (now - shown >= SHOW_EVERY_NS) {
                    shown = now;
                    show(this, checks.warning() + model.results(MainActivity.this), getString(R.string.live_times,
                            model.classifier.preprocessMs(), model.classifier.inferenceMs()) + "\n"
                            + model.title(MainActivity.this) + checks.note());
                }
            } catch (Exception | OutOfMemoryError exc) {
                onFailure(exc);
            }
        }

        @Override
        public void onFailure(Throwable failure) {
            failed = true;
            show(this, Failures.text(MainActivity.this, failure), "");
        }

        @Override
        public void onClosed() {
            if (model != null) {
                model.close();
                model = null;
            }
        }
    }

    private void show(final Frames from, final String text, final String details) {
        runOnUiThread(new Runnable() {
            @Override
            public void run() {
                if (session != null && session.isFor(from)) {
                    results.setText(text);
                    note.setText(details);
                }
            }
        });
    }

    @Override
    public void onRequestPermissionsResult(int request, String[] permissions, int[] granted) {
        super.onRequestPermissionsResult(request, permissions, granted);
        if (granted.length == 0 || granted[0] != PackageManager.PERMISSION_GRANTED) {
            results.setText(R.string.camera_refused); // onResume, which follows, offers to ask again
        }
    }

    /** Fills the view with the camera's picture, cut at two sides, however the screen is turned. */
    private void transform() {
        if (session == null) {
            return;
        }
        Size size = session.size();
        int rotation = getWindowManager().getDefaultDisplay().getRotation();
        float width = preview.getWidth();
        float height = preview.getHeight();
        RectF view = new RectF(0, 0, width, height);
        // The texture shows the frame as in the phone's natural, upright position: sides swapped.
        RectF frame = new RectF(0, 0, size.getHeight(), size.getWidth());
        frame.offset(view.centerX() - frame.centerX(), view.centerY() - frame.centerY());
        boolean lying = rotation == Surface.ROTATION_90 || rotation == Surface.ROTATION_270;
        float scale = lying ? Math.max(height / size.getHeight(), width / size.getWidth())
                : Math.max(width / size.getHeight(), height / size.getWidth());
        Matrix matrix = new Matrix();
        matrix.setRectToRect(view, frame, Matrix.ScaleToFit.FILL);
        matrix.postScale(scale, scale, view.centerX(), view.centerY());
        matrix.postRotate(lying ? 90 * (rotation - 2) : 90 * rotation, view.centerX(), view.centerY());
        preview.setTransform(matrix);
    }

    @Override
    public void onSurfaceTextureAvailable(SurfaceTexture texture, int width, int height) {
        if (checkSelfPermission(Manifest.permission.CAMERA) == PackageManager.PERMISSION_GRANTED) {
            start();
        }
    }

    @Override
    public void onSurfaceTextureSizeChanged(SurfaceTexture texture, int width, int height) {
        transform();
    }

    @Override
    public boolean onSurfaceTextureDestroyed(SurfaceTexture texture) {
        stop();
        return true;
    }

    @Override
    public void onSurfaceTextureUpdated(SurfaceTexture texture) {
        // every frame of the preview; nothing to do
    }
}
