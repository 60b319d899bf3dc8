package org.ghostedge.demo;

import android.content.Intent;
import android.util.Log;
import android.widget.Switch;
import java.io.File;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.ghostedge.core.Cancellation;
import org.ghostedge.core.DemoException;
import org.ghostedge.core.DeviceFiles;
import org.ghostedge.core.Float16;
import org.ghostedge.core.ImageFolder;
import org.ghostedge.core.LedgerRun;
import org.ghostedge.core.Pixels;
import org.tensorflow.lite.TensorFlowLite;

/**
 * Evaluate a folder of images and write a ledger, which {@code ghostedge parity --ledger} reads, by screen or by adb.
 *
 * <pre>
 * adb shell am start -S -n org.ghostedge.demo/.ParityActivity --es model NAME.tflite --ei threads 4 --ez logits true
 * </pre>
 *
 * <p>Images are in files/images/ of the app's folder of the shared storage, the ledger appears in files/ledgers/.
 */
public final class ParityActivity extends RunActivity {
    /** How often the text changes: what people can read. */
    private static final long SHOW_EVERY_NS = 500_000_000;

    private Switch logits;
    private long shown;

    public ParityActivity() {
        super(R.layout.parity, R.string.parity_cancelled, R.id.logits);
    }

    @Override
    void prepare() {
        logits = (Switch) findViewById(R.id.logits);
        text(R.id.hint).setText(getString(R.string.parity_hint, Models.folder(this, "images")));
    }

    @Override
    void startBy(Intent intent) {
        String model = intent.getStringExtra("model");
        if (model != null) {
            begin(model, intent.getIntExtra("threads", choices.threads()),
                    intent.getBooleanExtra("xnnpack", choices.xnnpack()), intent.getBooleanExtra("logits", false));
        }
    }

    @Override
    void begin() {
        begin(choices.model(), choices.threads(), choices.xnnpack(), logits.isChecked());
    }

    private void begin(final String model, final int threads, final boolean xnnpack, final boolean keep) {
        if (isRunning()) {
            status.setText(R.string.already_running);
            return;
        }
        final Cancellation mine = started();
        new Thread("parity") {
            @Override
            public void run() {
                String text;
                try {
                    File ledger = evaluate(model, Math.max(1, threads), xnnpack, keep, mine);
                    text = getString(R.string.written, ledger);
                    Log.i(Failures.TAG, text);
                } catch (Exception | OutOfMemoryError exc) {
                    text = Failures.text(ParityActivity.this, exc);
                }
                finished(text);
            }
        }.start();
    }

    private File evaluate(String name, int threads, boolean xnnpack, boolean keep, Cancellation mine)
            throws DemoException {
        LoadedModel model = new LoadedModel(new Models(this).open(name), threads, xnnpack);
        try {
            int classes = model.classifier.prediction.logits.length;
            List<ImageFolder.Item> images =
                    ImageFolder.list(Models.folder(this, "images"), model.description.labels, classes);
            Map<String, Object> runtime = new LinkedHashMap<>();
            runtime.put("name", "tflite-runtime");
            runtime.put("version", TensorFlowLite.runtimeVersion());
            runtime.put("threads", threads);
            runtime.put("xnnpack", xnnpack);
            String cpuinfo = new DeviceFiles(new File("/sys"), new File("/proc")).cpuInfo();
            runtime.put("inference_precision", Float16.inferencePrecision(model.file.bytes, xnnpack, cpuinfo));
            LedgerRun run = new LedgerRun(model.file, model.description, images, model.classifier,
                    new LedgerRun.Decoder() {
                        @Override
                        public Pixels decode(File file) throws DemoException {
                            return Pictures.decode(Pictures.of(file), false);
                        }
                    }, keep, new PhoneDevice(this).host(), runtime);
            File ledger = new File(Models.folder(this, "ledgers"), model.file.name + ".jsonl");
            run.run(ledger, mine, this);
            return ledger;
        } finally {
            model.close();
        }
    }

    @Override
    public void progress(final String text, final int done, final int total) {
        long now = System.nanoTime();
        if (now - shown < SHOW_EVERY_NS) {
            return;
        }
        shown = now;
        runOnUiThread(new Runnable() {
            @Override
            public void run() {
                bar.setMax(total);
                bar.setProgress(done);
                status.setText(getString(R.string.parity_progress, done, total, text));
            }
        });
    }

    @Override
    protected void onDestroy() {
        cancel(R.string.parity_cancelled);
        super.onDestroy();
    }
}
