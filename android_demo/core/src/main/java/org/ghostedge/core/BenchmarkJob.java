package org.ghostedge.core;

import java.util.Arrays;

/** What a benchmark shall do: the extras of {@code adb shell am start}, or the choices on the screen. */
public final class BenchmarkJob {
    /** MLPerf's rule for a single stream: fewer samples or seconds are not valid. */
    static final int FULL_SAMPLES = 1024;

    static final double FULL_SECONDS = 60;
    private static final int MAX_MINUTES = 240;
    private static final int DEFAULT_MINUTES = 10;

    public final String model;
    public final EngineSettings settings;
    public final boolean quick;
    /** Only whether the answers are right: nothing is timed. */
    public final boolean verify;
    /** Minutes of load after the samples; 0: none. */
    public final int sustainedMinutes;
    /** Path of the golden file; null: the model's own, if it lies beside it. */
    public final String golden;
    /** File name of the record, with {@code .json}. */
    public final String out;

    private BenchmarkJob(String model, EngineSettings settings, String mode, int minutes, String golden, String out) {
        this.model = model;
        this.settings = settings;
        this.quick = mode.equals("quick");
        this.verify = mode.equals("verify");
        this.sustainedMinutes = minutes;
        this.golden = golden;
        this.out = out;
    }

    /**
     * Reads extras: those of the model and its engine, {@code mode} quick|valid|sustained|verify, {@code minutes},
     * {@code golden}, {@code out}.
     *
     * @param cores of the device
     * @param runtime as records name it
     */
    public static BenchmarkJob parse(Extras extras, int cores, String runtime) throws DemoException {
        String model = extras.model();
        EngineSettings settings = extras.settings(cores, 1);
        String mode = extras.text("mode", "valid");
        if (!Arrays.asList("quick", "valid", "sustained", "verify").contains(mode)) {
            throw new DemoException("mode '" + mode + "' is not quick, valid, sustained or verify");
        }
        boolean sustained = mode.equals("sustained");
        if (!sustained && extras.has("minutes")) {
            throw new DemoException("minutes are of the mode sustained; add: --es mode sustained");
        }
        int minutes = extras.whole("minutes", 1, MAX_MINUTES, DEFAULT_MINUTES);
        String golden = extras.text("golden", null);
        String out = extras.text("out", null);
        extras.end();
        String name = out == null ? defaultName(model, runtime, settings, mode.equals("verify")) : out;
        return new BenchmarkJob(model, settings, mode, sustained ? minutes : 0, golden, recordName(name));
    }

    /** As edge_benchmark.py names its records: model, runtime, threads. */
    private static String defaultName(String model, String runtime, EngineSettings settings, boolean verify) {
        String stem = model.substring(model.lastIndexOf('/') + 1);
        stem = stem.endsWith(".tflite") ? stem.substring(0, stem.length() - ".tflite".length()) : stem;
        return stem + "-" + runtime + "-" + settings.label() + (verify ? "-verify" : "");
    }

    private static String recordName(String out) throws DemoException {
        String name = out.endsWith(".json") ? out : out + ".json";
        if (name.indexOf('/') >= 0 || name.startsWith(".") || name.length() > 200) {
            throw new DemoException("out '" + out + "' is a file name, not a path; records have a folder of their own");
        }
        return name;
    }

    int minSamples() {
        return quick ? 50 : FULL_SAMPLES;
    }

    double minSeconds() {
        return quick ? 1 : FULL_SECONDS;
    }

    double windowSeconds() {
        return quick ? 0.1 : 0.5;
    }

    double warmupLimitSeconds() {
        return quick ? 3 : 30;
    }
}
