package org.ghostedge.demo;

import android.content.Context;
import android.util.Log;
import java.io.File;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.ghostedge.core.AnswerCheck;
import org.ghostedge.core.Bounds;
import org.ghostedge.core.Classifier;
import org.ghostedge.core.DemoException;
import org.ghostedge.core.Description;
import org.ghostedge.core.DeviceFiles;
import org.ghostedge.core.Engine;
import org.ghostedge.core.Float16;
import org.ghostedge.core.Golden;
import org.ghostedge.core.ModelFile;
import org.ghostedge.core.Prediction;

/** A model, its description and its classifier, together until it is closed. */
final class LoadedModel {
    private static final Verdict NONE = new Verdict("", false);
    /** Of this start of the app; by the file's digest and the settings, for both decide on the answers. */
    private static final Map<String, Verdict> VERDICTS = new ConcurrentHashMap<>();

    final ModelFile file;
    final Description description;
    final Classifier classifier;
    private final Engine engine;
    private final String key;
    /** Null: there are no golden pictures to check with, or that is done. */
    private AnswerCheck check;

    LoadedModel(ModelFile file, int threads, boolean xnnpack) throws DemoException {
        this.file = file;
        key = file.sha256() + " " + threads + " " + xnnpack;
        engine = new TfliteEngine.Factory().load(file, threads, xnnpack);
        try {
            description = Description.of(file.name, file.bytes, engine.input().shape);
            classifier = new Classifier(engine, description);
        } catch (DemoException exc) {
            engine.close();
            throw exc;
        }
    }

    /** Loads the chosen model. Throws: DemoException, also where there is none. */
    static LoadedModel chosen(Context context) throws DemoException {
        Models models = new Models(context);
        String name = models.chosen();
        if (name == null) {
            throw new DemoException(models.howToAdd());
        }
        LoadedModel model = new LoadedModel(models.open(name), models.threads(), models.xnnpack());
        model.prepareCheck(context, models, name);
        return model;
    }

    private void prepareCheck(Context context, Models models, String name) {
        if (VERDICTS.containsKey(key)) {
            return;
        }
        try {
            Golden golden = models.golden(name, null);
            if (golden == null) {
                VERDICTS.put(key, NONE);
                return;
            }
            String cpuinfo = new DeviceFiles(new File("/sys"), new File("/proc")).cpuInfo();
            String precision = Float16.inferencePrecision(file.bytes, models.xnnpack(), cpuinfo);
            check = new AnswerCheck(golden, file.name, description, engine, Bounds.of(description, precision));
        } catch (DemoException exc) {
            VERDICTS.put(key, new Verdict(context.getString(R.string.check_none, exc.getMessage()), false));
        }
    }

    /** Takes one more golden picture, while there are any. Returns: what is known so far. */
    Verdict checkOn(Context context) throws DemoException {
        if (check != null && check.step()) {
            String reason = check.reason();
            Verdict verdict = reason != null ? new Verdict(context.getString(R.string.check_wrong, reason), true)
                    : new Verdict(context.getString(R.string.check_right, check.right(), check.images(),
                            check.nearness()), false);
            Log.i(Failures.TAG, file.name + ": " + verdict.text);
            VERDICTS.put(key, verdict);
            check = null;
        }
        return check == null ? VERDICTS.get(key) : NONE;
    }

    /** Takes all golden pictures. Returns: what was found. */
    Verdict checkAll(Context context) throws DemoException {
        Verdict verdict = checkOn(context);
        while (check != null) {
            verdict = checkOn(context);
        }
        return verdict;
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
