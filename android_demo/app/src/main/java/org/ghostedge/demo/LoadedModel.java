package org.ghostedge.demo;

import android.content.Context;
import android.os.Build;
import android.util.Log;
import java.io.File;
import java.util.Locale;
import org.ghostedge.core.AnswerCheck;
import org.ghostedge.core.Bounds;
import org.ghostedge.core.Cancellation;
import org.ghostedge.core.Classifier;
import org.ghostedge.core.DemoException;
import org.ghostedge.core.Description;
import org.ghostedge.core.DeviceFiles;
import org.ghostedge.core.Engine;
import org.ghostedge.core.EngineFactory;
import org.ghostedge.core.EngineSettings;
import org.ghostedge.core.Float16;
import org.ghostedge.core.Golden;
import org.ghostedge.core.ModelFile;
import org.ghostedge.core.Prediction;
import org.ghostedge.core.Progress;
import org.ghostedge.core.Timer;
import org.ghostedge.core.Verdict;

/** A model, its description and its classifier, together until it is closed. */
final class LoadedModel {
    final ModelFile file;
    final Description description;
    final Classifier classifier;
    /** What floating-point operators are computed in, as records name it. */
    final String precision;
    private final Engine engine;
    private final AnswerCheck check;

    LoadedModel(Context context, ModelFile file, EngineSettings settings) throws DemoException {
        this.file = file;
        EngineFactory engines = new Engines(context);
        engine = engines.load(file, settings);
        try {
            description = Description.of(file.name, file.bytes, engine.input().shape);
            classifier = new Classifier(engine, description);
        } catch (DemoException exc) {
            engine.close();
            throw exc;
        }
        String cpuinfo = new DeviceFiles(new File("/sys"), new File("/proc")).cpuInfo();
        precision = Float16.inferencePrecision(file.bytes, settings, cpuinfo);
        File checks = new File(context.getFilesDir(), "checks.json");
        check = new AnswerCheck(checks, file, engines, settings, Build.FINGERPRINT);
    }

    /** Loads the chosen model. Throws: DemoException, also where there is none. */
    static LoadedModel chosen(Context context) throws DemoException {
        Models models = new Models(context);
        String name = models.chosen();
        if (name == null) {
            throw new DemoException(models.howToAdd());
        }
        return new LoadedModel(context, models.open(name), models.settings());
    }

    /**
     * Whether the answers are right, found now or at an earlier load; before any picture is classified.
     *
     * @return null where no golden pictures lie beside the model
     * @throws DemoException they cannot be asked, or it is cancelled
     */
    Verdict check(Context context, Cancellation cancellation, Progress progress) throws DemoException {
        Verdict known = check.known();
        if (known != null) {
            return known;
        }
        Models models = new Models(context);
        Golden golden = models.golden(file.file == null ? Models.BUNDLED + file.name : file.file.getPath(), null);
        if (golden == null) {
            return null;
        }
        Bounds bounds = Bounds.of(description, precision);
        Verdict found =
                check.run(golden, file, description, engine, bounds, Timer.SYSTEM, cancellation, progress);
        Log.i(Failures.TAG, file.name + ": " + (found.reason == null ? found.nearness : found.reason));
        return found;
    }

    /** Lets the next {@link #check} ask anew. */
    void forgetCheck() {
        check.forget();
    }

    /** The best five of the last picture, one a line. */
    String results(Context context) {
        StringBuilder text = new StringBuilder();
        Prediction prediction = classifier.prediction;
        for (int i = 0; i < Prediction.TOP && prediction.topClass[i] >= 0; i++) {
            text.append(i == 0 ? "" : "\n").append(context.getString(R.string.result_line, i + 1,
                    description.label(prediction.topClass[i]), 100 * prediction.topProbability[i]));
        }
        return text.toString();
    }

    /** The model's name, and what to know about it. */
    String title(Context context) {
        String precision = description.precision == null ? "" : String.format(Locale.ROOT, " (%s)", description.precision);
        return file.name + precision + (description.known ? "" : "\n" + context.getString(R.string.not_described));
    }

    void close() {
        engine.close();
    }
}
