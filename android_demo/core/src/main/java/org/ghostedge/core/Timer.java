package org.ghostedge.core;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Time a function: the loop of benchmarks/edge_benchmark.py, with its warm-up rule.
 *
 * <p>It is NOT aware of what the function computes. Samples are kept as they come, in an array that grows between
 * samples, never while one is timed.
 */
public final class Timer {
    static final int STEADY_WINDOWS = 3;
    static final double STEADY_SPREAD = 0.03;
    static final int STEADY_MIN_SAMPLES = 8;
    static final double WATCH_EVERY_S = 2.0;
    private static final int OVERHEAD_SAMPLES = 2000;

    /** What is timed. */
    public interface Run {
        void run() throws DemoException;
    }

    /** Is told the seconds since the start, between samples, every {@link #WATCH_EVERY_S} seconds. */
    public interface Watch {
        void watch(double seconds);
    }

    /** A clock; a test's own in tests. */
    public interface Clock {
        long nanoTime();
    }

    /** The device's own clock. */
    public static final Clock SYSTEM = new Clock() {
        @Override
        public long nanoTime() {
            return System.nanoTime();
        }
    };

    /** Samples, milliseconds, and the seconds that all of it took. */
    public static final class Samples {
        public final double[] ms;
        public final double seconds;

        Samples(double[] ms, double seconds) {
            this.ms = ms;
            this.seconds = seconds;
        }
    }

    private final Clock clock;
    private final Cancellation cancellation;
    private double[] buffer = new double[4096];

    public Timer(Clock clock, Cancellation cancellation) {
        this.clock = clock;
        this.cancellation = cancellation;
    }

    /** Milliseconds that one call takes. */
    double sampleMs(Run run) throws DemoException {
        long started = clock.nanoTime();
        run.run();
        return (clock.nanoTime() - started) / 1e6;
    }

    /** Seconds from {@code started}, a value of the clock, to now. */
    double since(long started) {
        return (clock.nanoTime() - started) / 1e9;
    }

    long now() {
        return clock.nanoTime();
    }

    /** Times {@code run} until there are enough samples and seconds, or {@code maxSeconds} have passed. */
    Samples collect(Run run, int minSamples, double minSeconds, Watch watch, double maxSeconds) throws DemoException {
        int count = 0;
        long started = clock.nanoTime();
        double nextWatch = WATCH_EVERY_S;
        while (true) {
            cancellation.check();
            if (count == buffer.length) {
                buffer = Arrays.copyOf(buffer, 2 * count);
            }
            buffer[count++] = sampleMs(run);
            double elapsed = since(started);
            if ((count >= minSamples && elapsed >= minSeconds) || elapsed >= maxSeconds) {
                return new Samples(Arrays.copyOf(buffer, count), elapsed);
            }
            if (watch != null && elapsed >= nextWatch) {
                watch.watch(elapsed);
                nextWatch = elapsed + WATCH_EVERY_S;
            }
        }
    }

    /** Times {@code run} until three windows' medians lie within 3%, or {@code limitS} seconds have passed. */
    Map<String, Object> warmUp(Run run, double windowS, double limitS) throws DemoException {
        List<Object> medians = new ArrayList<>();
        double[] last = new double[STEADY_WINDOWS];
        int count = 0;
        Double spread = null;
        double elapsed = 0;
        long started = clock.nanoTime();
        while (elapsed < limitS && (spread == null || spread > STEADY_SPREAD)) {
            double[] window = collect(run, STEADY_MIN_SAMPLES, windowS, null, limitS - elapsed).ms;
            count += window.length;
            double median = Summary.median(window, 0, window.length);
            last[medians.size() % STEADY_WINDOWS] = median;
            medians.add(Summary.rounded(median, 4));
            if (medians.size() >= STEADY_WINDOWS) {
                double[] ordered = last.clone();
                Arrays.sort(ordered);
                spread = ordered[0] > 0 ? Double.valueOf(ordered[STEADY_WINDOWS - 1] / ordered[0] - 1) : null;
            }
            elapsed = since(started);
        }
        Map<String, Object> warmup = new LinkedHashMap<>();
        warmup.put("samples", count);
        warmup.put("duration_s", Summary.rounded(elapsed, 3));
        warmup.put("steady", spread != null && spread <= STEADY_SPREAD);
        warmup.put("spread_percent", spread == null ? null : Summary.rounded(100 * spread, 2));
        warmup.put("window_medians_ms", medians);
        return warmup;
    }

    /** What the timer adds to each sample: the same loop around a function that does nothing, microseconds. */
    double overheadUs() throws DemoException {
        Run nothing = new Run() {
            @Override
            public void run() {
                // nothing: what is timed is the timer
            }
        };
        collect(nothing, OVERHEAD_SAMPLES / 10, 0, null, Double.POSITIVE_INFINITY);
        double[] samples = collect(nothing, OVERHEAD_SAMPLES, 0, null, Double.POSITIVE_INFINITY).ms;
        return 1e3 * Summary.median(samples, 0, samples.length);
    }
}
