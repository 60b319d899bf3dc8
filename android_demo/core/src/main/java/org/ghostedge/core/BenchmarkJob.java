package org.ghostedge.core;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;

/** What a benchmark shall do: the extras of {@code adb shell am start}, or the choices on the screen. */
public final class BenchmarkJob {
    /** MLPerf's rule for a single stream: fewer samples or seconds are not valid. */
    static final int FULL_SAMPLES = 1024;

    static final double FULL_SECONDS = 60;
    private static final int MAX_THREADS = 64;
    private static final int MAX_MINUTES = 240;
    private static final int DEFAULT_MINUTES = 10;

    /** A file name, a path in the app's folder of models, or {@code assets/NAME} of a bundled one. */
    public final String model;

    public final int threads;
    public final boolean xnnpack;
    public final boolean quick;
    /** Only whether the answers are right: nothing is timed. */
    public final boolean verify;
    /** Minutes of load after the samples; 0: none. */
    public final int sustainedMinutes;
    /** Path of the golden file; null: the model's own, if it lies beside it. */
    public final String golden;
    /** File name of the record, with {@code .json}. */
    public final String out;

    private BenchmarkJob(String model, int threads, boolean xnnpack, String mode, int minutes, String golden,
            String out) {
        this.model = model;
        this.threads = threads;
        this.xnnpack = xnnpack;
        this.quick = mode.equals("quick");
        this.verify = mode.equals("verify");
        this.sustainedMinutes = minutes;
        this.golden = golden;
        this.out = out;
    }

    /**
     * Reads extras: {@code model} (needed), {@code threads}, {@code xnnpack}, {@code mode} quick|valid|sustained|verify,
     * {@code minutes}, {@code golden}, {@code out}.
     *
     * @param cores of the device: the most threads that are let through is four a core
     */
    public static BenchmarkJob parse(Map<String, Object> extras, int cores) throws DemoException {
        Map<String, Object> rest = new LinkedHashMap<>(extras);
        String model = text(rest, "model", null);
        String mode = text(rest, "mode", "valid");
        Object threads = rest.remove("threads");
        Object xnnpack = rest.remove("xnnpack");
        Object minutes = rest.remove("minutes");
        String golden = text(rest, "golden", null);
        String out = text(rest, "out", "");
        if (!rest.isEmpty()) {
            throw new DemoException("unknown extra '" + rest.keySet().iterator().next()
                    + "'; there are model, threads, xnnpack, mode, minutes, golden and out");
        }
        if (model == null) {
            throw new DemoException("no model; add: --es model NAME.tflite");
        }
        if (!Arrays.asList("quick", "valid", "sustained", "verify").contains(mode)) {
            throw new DemoException("mode '" + mode + "' is not quick, valid, sustained or verify");
        }
        if (xnnpack != null && !(xnnpack instanceof Boolean)) {
            throw new DemoException("xnnpack is true or false; write: --ez xnnpack true");
        }
        int count = whole(threads, "threads", 1, Math.min(MAX_THREADS, 4 * cores), 1);
        boolean sustained = mode.equals("sustained");
        if (!sustained && minutes != null) {
            throw new DemoException("minutes are of the mode sustained; add: --es mode sustained");
        }
        int load = sustained ? whole(minutes, "minutes", 1, MAX_MINUTES, DEFAULT_MINUTES) : 0;
        boolean fast = xnnpack == null || (Boolean) xnnpack;
        String name = out.isEmpty() ? defaultName(model, count, fast, mode.equals("verify")) : out;
        return new BenchmarkJob(model, count, fast, mode, load, golden, recordName(name));
    }

    /** As edge_benchmark.py names its records: model, runtime, threads. */
    private static String defaultName(String model, int threads, boolean xnnpack, boolean verify) {
        String stem = model.substring(model.lastIndexOf('/') + 1);
        stem = stem.endsWith(".tflite") ? stem.substring(0, stem.length() - ".tflite".length()) : stem;
        return stem + "-tflite-runtime-" + threads + "t" + (xnnpack ? "" : "-noxnnpack") + (verify ? "-verify" : "")
                + ".json";
    }

    private static String recordName(String out) throws DemoException {
        String name = out.endsWith(".json") ? out : out + ".json";
        if (name.indexOf('/') >= 0 || name.startsWith(".") || name.length() > 200) {
            throw new DemoException("out '" + out + "' is a file name, not a path; records have a folder of their own");
        }
        return name;
    }

    private static String text(Map<String, Object> extras, String name, String otherwise) throws DemoException {
        Object value = extras.remove(name);
        if (value == null) {
            return otherwise;
        }
        if (!(value instanceof String) || ((String) value).isEmpty()) {
            throw new DemoException(name + " is a text; write: --es " + name + " TEXT");
        }
        return (String) value;
    }

    private static int whole(Object value, String name, int low, int high, int otherwise) throws DemoException {
        if (value == null) {
            return otherwise;
        }
        if (!(value instanceof Integer)) {
            throw new DemoException(name + " is a whole number; write: --ei " + name + " " + otherwise);
        }
        if ((Integer) value < low || (Integer) value > high) {
            throw new DemoException(name + " " + value + " is not within " + low + " and " + high);
        }
        return (Integer) value;
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
