package org.ghostedge.core;

/** A picture's whole way, timed by parts: pixels, crop, tensor, logits, top five. Allocates nothing once it runs. */
public final class Classifier {
    public final Prediction prediction;
    private final Preprocessor preprocessor;
    private final InputEncoder encoder;
    private final Engine engine;
    private long preprocessNs;
    private long inferenceNs;

    /** Throws: DemoException where the model is not what its description says. */
    public Classifier(Engine engine, Description description) throws DemoException {
        this.engine = engine;
        preprocessor = new Preprocessor(description.input);
        encoder = new InputEncoder(description.input, engine.input());
        prediction = new Prediction(engine.output());
        int classes = prediction.logits.length;
        if (!description.labels.isEmpty() && description.labels.size() != classes) {
            throw new DemoException("the model has " + classes + " classes and " + description.labels.size()
                    + " names; export it again");
        }
    }

    /** Fills {@link #prediction}. Throws: DemoException where the interpreter fails. */
    public void classify(Pixels picture) throws DemoException {
        long started = System.nanoTime();
        encoder.encode(preprocessor.crop(picture));
        long prepared = System.nanoTime();
        prediction.set(engine.run(encoder.tensor()));
        inferenceNs = System.nanoTime() - prepared;
        preprocessNs = prepared - started;
    }

    /** Of the last picture: resize, crop, normalise. */
    public double preprocessMs() {
        return preprocessNs / 1e6;
    }

    /** Of the last picture: copy in, infer, copy out, rank. */
    public double inferenceMs() {
        return inferenceNs / 1e6;
    }
}
