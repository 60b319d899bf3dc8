package org.ghostedge.demo;

import android.widget.Switch;
import java.io.File;
import java.util.List;
import java.util.Map;
import org.ghostedge.core.Cancellation;
import org.ghostedge.core.DemoException;
import org.ghostedge.core.EngineSettings;
import org.ghostedge.core.Extras;
import org.ghostedge.core.ImageFolder;
import org.ghostedge.core.LedgerRun;
import org.ghostedge.core.Pixels;

/**
 * Evaluate a folder of images and write a ledger, which {@code ghostedge parity --ledger} reads, by screen or by adb.
 *
 * <pre>
 * adb shell am start -S -n org.ghostedge.demo/.ParityActivity --es model NAME.tflite --ei threads 4
 *     --ez xnnpack true --es accelerator cpu|gpu --ez logits true
 * </pre>
 *
 * <p>Images are in files/images/ of the app's folder of the shared storage, the ledger appears in files/ledgers/.
 */
public final class ParityActivity extends RunActivity {
    private Switch logits;

    public ParityActivity() {
        super(R.layout.parity, R.string.parity_cancelled, R.id.logits);
    }

    @Override
    void prepare() {
        logits = (Switch) findViewById(R.id.logits);
        text(R.id.hint).setText(getString(R.string.parity_hint, Models.folder(this, "images")));
    }

    @Override
    void putOwnInto(Map<String, Object> extras) {
        extras.put("logits", logits.isChecked());
    }

    @Override
    Work work(Extras extras) throws DemoException {
        final String model = extras.model();
        final EngineSettings settings =
                extras.settings(Runtime.getRuntime().availableProcessors(), choices.settings().threads);
        final boolean keepLogits = extras.flag("logits", false);
        extras.end();
        // The GPU's has another name, so that it does not take the place of the CPU's.
        String name = new File(model).getName() + (settings.gpu ? ".gpu" : "") + ".jsonl";
        return new Work(new File(Models.folder(this, "ledgers"), name)) {
            @Override
            String run(Cancellation mine) throws DemoException {
                evaluate(model, settings, keepLogits, file, mine);
                return "";
            }
        };
    }

    private void evaluate(String name, EngineSettings settings, boolean keepLogits, File ledger, Cancellation mine)
            throws DemoException {
        LoadedModel model = new LoadedModel(this, new Models(this).open(name), settings);
        try {
            int classes = model.classifier.prediction.logits.length;
            List<ImageFolder.Item> images =
                    ImageFolder.list(Models.folder(this, "images"), model.description.labels, classes);
            LedgerRun run = new LedgerRun(model.file, model.description, images, model.classifier,
                    new LedgerRun.Decoder() {
                        @Override
                        public Pixels decode(File file) throws DemoException {
                            return Pictures.decode(Pictures.of(file), false);
                        }
                    }, keepLogits, new PhoneDevice(this).host(),
                    LedgerRun.runtime(new Engines(this), settings, model.precision));
            run.run(ledger, mine, this);
        } finally {
            model.close();
        }
    }

    @Override
    protected void onDestroy() {
        cancel(R.string.parity_cancelled);
        super.onDestroy();
    }
}
