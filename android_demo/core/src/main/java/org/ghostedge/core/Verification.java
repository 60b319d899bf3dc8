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
    /** One picture is run so often, or until the seconds of the effort have passed on a slow phone. */
    static final int REPEATS = 100;

    private static final int FEWEST_REPEATS = 3;
    private static final int FEWEST_PICTURES = 8;

    /** How much is asked, which a slow device may stop earlier. */
    enum Effort {
        /** For a record: as edge_benchmark.py asks. */
        RECORD(20.0, Integer.MAX_VALUE, Double.POSITIVE_INFINITY),
        /** Before a first answer is shown to someone who waits. */
        FIRST_LOOK(3.0, 32, 10.0);

        private final double repeatsS;
        private final int pictures;
        /** Repeats and pictures. */
        private final double allS;

        Effort(double repeatsS, int pictures, double allS) {
            this.repeatsS = repeatsS;
            this.pictures = pictures;
            this.allS = allS;
        }
    }

    private static final String PROGRESS = "inferences, checking the answers";

    private final Golden golden;
    private final Engine engine;
    private final InputEncoder encoder;
    private final Prediction prediction;
    private ByteBuffer output;
    private float[] first;
    private double firstMs;
    private Comparison comparison;
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
    void first(Bounds bounds, Timer timer, Cancellation cancellation, Progress progress, Effort effort)
            throws DemoException {
        progress.progress(PROGRESS, 0, REPEATS + Math.min(golden.images(), effort.pictures));
        firstMs = timer.sampleMs(new Timer.Run() {
            @Override
            public void run() throws DemoException {
                Verification.this.run();
            }
        });
        record = compare(bounds, timer, cancellation, progress, effort);
    }

    /** Milliseconds of the very first inference. */
    double firstMs() {
        return firstMs;
    }

    /** What {@link #first} found, in short. */
    Verdict verdict() {
        return new Verdict(comparison.right(), comparison.count(), comparison.nearness(), (String) record.get("reason"));
    }

    /** The record's part {@code verification}. */
    Map<String, Object> record() {
        return record;
    }

    /**
     * The first picture is run {@link #REPEATS} times. Its last answer is the one compared with the golden one: a
     * driver that is right only the first time has wrong answers.
     */
    private Map<String, Object> compare(Bounds bounds, Timer timer, Cancellation cancellation, Progress progress,
            Effort effort) throws DemoException {
        int pictures = Math.min(golden.images(), effort.pictures);
        long started = timer.now();
        first = answer();
        float[] again = first;
        double worst = 0;
        Integer different = null;
        int count = 1;
        while (count < REPEATS && (count < FEWEST_REPEATS || timer.since(started) < effort.repeatsS)) {
            cancellation.check();
            progress.progress(PROGRESS, count, REPEATS + pictures);
            run();
            count++;
            again = answer();
            if (!identical(first, again)) {
                different = different == null ? Integer.valueOf(count) : different;
                worst = Math.max(worst, Comparison.noisePower(first, again));
            }
        }
        comparison = new Comparison();
        comparison.add(golden.name(0), golden.logits(0), again);
        for (int i = 1; i < pictures && (i < FEWEST_PICTURES || timer.since(started) < effort.allS); i++) {
            cancellation.check();
            progress.progress(PROGRESS, REPEATS + i, REPEATS + pictures);
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
