package org.ghostedge.demo;

import android.content.Context;
import java.util.Locale;
import org.ghostedge.core.Classifier;
import org.ghostedge.core.DemoException;
import org.ghostedge.core.Description;
import org.ghostedge.core.Engine;
import org.ghostedge.core.ModelFile;
import org.ghostedge.core.Prediction;

/** A model, its description and its classifier, together until it is closed. */
final class LoadedModel {
    final ModelFile file;
    final Description description;
    final Classifier classifier;
    private final Engine engine;

    LoadedModel(ModelFile file, int threads, boolean xnnpack) throws DemoException {
        this.file = file;
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
        return new LoadedModel(models.open(name), models.threads(), models.xnnpack());
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
