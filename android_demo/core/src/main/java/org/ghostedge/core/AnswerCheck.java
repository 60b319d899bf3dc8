package org.ghostedge.core;

/**
 * A first look at whether a loaded model gives the right answers: the golden pictures, one at each call.
 *
 * <p>So that a camera's picture goes on meanwhile, and on the engine that classifies it. Repeats are the benchmark's.
 */
public final class AnswerCheck {
    private final Golden golden;
    private final Verification verification;
    private final Bounds bounds;
    private final Comparison comparison = new Comparison();

    /** Throws: DemoException where the golden vectors are for another model. */
    public AnswerCheck(Golden golden, String model, Description description, Engine engine, Bounds bounds)
            throws DemoException {
        this.golden = golden;
        this.bounds = bounds;
        verification = new Verification(golden, model, description, engine);
    }

    /** Runs one more picture. Returns: whether that was the last one, and the verdict is there. */
    public boolean step() throws DemoException {
        int index = comparison.count();
        if (index < golden.images()) {
            comparison.add(golden.name(index), golden.logits(index), verification.answerTo(index));
        }
        return comparison.count() == golden.images();
    }

    public int images() {
        return golden.images();
    }

    /** Pictures so far whose best class is MindSpore's. */
    public int right() {
        return comparison.right();
    }

    /** How near the logits are, e.g. {@code "70.6 dB"} or {@code "identical"}. */
    public String nearness() {
        Double snr = comparison.snrDb();
        return snr != null ? Comparison.fixed(snr, 1) + " dB" : comparison.finite() ? "identical" : "not finite";
    }

    /** Why the answers are wrong; null where they are right. */
    public String reason() {
        return comparison.reason(bounds);
    }
}
