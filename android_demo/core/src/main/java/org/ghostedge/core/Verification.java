package org.ghostedge.core;

import java.nio.ByteBuffer;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Whether a loaded model gives the right answers: what edge_benchmark.py checks, on the engine that is timed.
 *
 * <p>{@link #first} comes right after the model is loaded, before any other inference, {@link #again} after the timer.
 */
final class Verification {
    /** One picture is run so often, or until so many seconds have passed on a slow phone, and each answer compared. */
    static final int REPEATS = 100;

    private static final double REPEATS_LIMIT_S = 20.0;
    private static final int FEWEST_REPEATS = 3;

    private final Golden golden;
    private final Engine engine;
    private final InputEncoder encoder;
    private final Prediction prediction;
    private ByteBuffer output;
    private float[] first;
    private double firstMs;
    private Map<String, Object> record;

    /** Throws: DemoException where the golden vectors are for another model. */
    Verification(Golden golden, String model, Description description, Engine engine) throws DemoException {
        this.golden = golden;
        this.engine = engine;
        encoder = new InputEncoder(description.input, engine.input());
        prediction = new Prediction(engine.output());
        String misfit = golden.misfit(model, description, prediction.logits.length);
        if (misfit != null) {
            throw new DemoException(misfit);
        }
        encoder.encode(golden.crop(0));
    }

    /** Runs the picture that was encoded last. */
    private void run() throws DemoException {
        output = engine.run(encoder.tensor());
    }

    private float[] answer() {
        prediction.set(output);
        return prediction.logits.clone();
    }

    /** Runs one picture. */
    float[] answerTo(int index) throws DemoException {
        encoder.encode(golden.crop(index));
        run();
        return answer();
    }

    /** Times the first inference, of the first picture, then compares all answers. */
    void first(Bounds bounds, Timer timer, Cancellation cancellation) throws DemoException {
        firstMs = timer.sampleMs(new Timer.Run() {
            @Override
            public void run() throws DemoException {
                Verification.this.run();
            }
        });
        record = compare(bounds, timer, cancellation);
    }

    /** Milliseconds of the very first inference. */
    double firstMs() {
        return firstMs;
    }

    /** The record's part {@code verification}. */
    Map<String, Object> record() {
        return record;
    }

    /**
     * The first picture is run {@link #REPEATS} times. Its last answer is the one compared with the golden one: a
     * driver that is right only the first time has wrong answers.
     */
    private Map<String, Object> compare(Bounds bounds, Timer timer, Cancellation cancellation) throws DemoException {
        long started = timer.now();
        first = answer();
        float[] again = first;
        double worst = 0;
        Integer different = null;
        int count = 1;
        while (count < REPEATS && (count < FEWEST_REPEATS || timer.since(started) < REPEATS_LIMIT_S)) {
            cancellation.check();
            run();
            count++;
            again = answer();
            if (!identical(first, again)) {
                different = different == null ? Integer.valueOf(count) : different;
                worst = Math.max(worst, Comparison.noisePower(first, again));
            }
        }
        Comparison comparison = new Comparison();
        comparison.add(golden.name(0), golden.logits(0), again);
        for (int i = 1; i < golden.images(); i++) {
            cancellation.check();
            comparison.add(golden.name(i), golden.logits(i), answerTo(i));
        }
        Double repeatsSnrDb = different == null || Double.isInfinite(worst) ? null : Comparison.snrDb(worst);
        String reason = comparison.reason(bounds);
        if (reason == null && different != null && (repeatsSnrDb == null || repeatsSnrDb < bounds.minSnrDb)) {
            reason = "inference " + different + " of one picture gave another answer than the first";
        }
        Map<String, Object> file = new LinkedHashMap<>();
        file.put("file", golden.file());
        file.put("sha256", golden.sha256);
        file.put("images", golden.images());
        file.put("source_sha256", golden.sourceSha256);
        Map<String, Object> repeats = new LinkedHashMap<>();
        repeats.put("inferences", count);
        repeats.put("identical", different == null);
        repeats.put("first_different", different);
        repeats.put("snr_db", repeatsSnrDb);
        repeats.put("after_timing_identical", null);
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("golden", file);
        comparison.putInto(out);
        out.put("bounds", bounds.toJson());
        out.put("repeats", repeats);
        out.put("duration_s", Summary.rounded(timer.since(started), 3));
        out.put("correct", reason == null);
        out.put("reason", reason);
        return out;
    }

    /** After the timed samples: runs the first picture once more; another answer than before may be a wrong one. */
    @SuppressWarnings("unchecked")
    void again() throws DemoException {
        float[] answer = answerTo(0);
        boolean same = identical(first, answer);
        ((Map<String, Object>) record.get("repeats")).put("after_timing_identical", same);
        double least = ((Number) ((Map<String, Object>) record.get("bounds")).get("min_snr_db")).doubleValue();
        Double snrDb = same ? null : Comparison.snrDb(Comparison.noisePower(first, answer));
        if (Boolean.TRUE.equals(record.get("correct")) && snrDb != null && snrDb < least) {
            record.put("correct", false);
            record.put("reason", "after the timed samples one picture got another answer than before");
        }
    }

    /** Number by number: NaN equals itself, and 0 equals -0. */
    private static boolean identical(float[] one, float[] other) {
        for (int i = 0; i < one.length; i++) {
            if (one[i] != other[i] && !(Float.isNaN(one[i]) && Float.isNaN(other[i]))) {
                return false;
            }
        }
        return true;
    }
}
