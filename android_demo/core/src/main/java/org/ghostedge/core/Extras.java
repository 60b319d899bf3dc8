package org.ghostedge.core;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The extras of {@code adb shell am start}, or the choices on a screen, taken one by one; what is left is a mistake. */
public final class Extras {
    private static final int MAX_THREADS = 64;

    private final Map<String, Object> rest;
    private final List<String> known = new ArrayList<>();

    public Extras(Map<String, Object> extras) {
        rest = new LinkedHashMap<>(extras);
    }

    private Object take(String name) {
        known.add(name);
        return rest.remove(name);
    }

    /** A file name, a path in the app's folder of models, or {@code models/NAME} of a bundled one. */
    public String model() throws DemoException {
        String model = text("model", null);
        if (model == null) {
            throw new DemoException("no model; add: --es model NAME.tflite");
        }
        return model;
    }

    /**
     * How the model is run: {@code threads}, {@code xnnpack} and {@code accelerator} cpu|gpu.
     *
     * @param cores of the device: the most threads that are let through is four a core
     * @param threads where the extras do not say
     */
    public EngineSettings settings(int cores, int threads) throws DemoException {
        int count = whole("threads", 1, Math.min(MAX_THREADS, 4 * cores), threads);
        boolean xnnpack = flag("xnnpack", true);
        String accelerator = text("accelerator", "cpu");
        if (!accelerator.equals("cpu") && !accelerator.equals("gpu")) {
            throw new DemoException("accelerator '" + accelerator + "' is not cpu or gpu");
        }
        return new EngineSettings(count, xnnpack, accelerator.equals("gpu"));
    }

    /** Throws: DemoException where it is no text, or an empty one. */
    public String text(String name, String otherwise) throws DemoException {
        Object value = take(name);
        if (value == null) {
            return otherwise;
        }
        if (!(value instanceof String) || ((String) value).isEmpty()) {
            throw new DemoException(name + " is a text; write: --es " + name + " TEXT");
        }
        return (String) value;
    }

    /** Throws: DemoException where it is neither true nor false. */
    public boolean flag(String name, boolean otherwise) throws DemoException {
        Object value = take(name);
        if (value != null && !(value instanceof Boolean)) {
            throw new DemoException(name + " is true or false; write: --ez " + name + " true");
        }
        return value == null ? otherwise : (Boolean) value;
    }

    /** Throws: DemoException where it is no whole number, or beyond the limits. */
    int whole(String name, int low, int high, int otherwise) throws DemoException {
        Object value = take(name);
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

    boolean has(String name) {
        return rest.containsKey(name);
    }

    /** Throws: DemoException where an extra was not taken. */
    public void end() throws DemoException {
        if (!rest.isEmpty()) {
            String last = known.remove(known.size() - 1);
            throw new DemoException("unknown extra '" + rest.keySet().iterator().next() + "'; there are "
                    + known.toString().replaceAll("[\\[\\]]", "") + " and " + last);
        }
    }
}
