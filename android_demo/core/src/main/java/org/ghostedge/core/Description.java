package org.ghostedge.core;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What a .tflite file says about itself: input, labels, precision; ghostedge.model.Model in Java. */
public final class Description {
    /** Larger files are refused: they would be mapped, but a phone's memory would not hold what they compute. */
    public static final long MAX_MODEL_BYTES = 512L << 20;

    private static final String FILE = "ghostedge.json";

    public final InputSpec input;
    public final List<String> labels;
    /** fp32, fp16, ...; null where the file does not say. */
    public final String precision;
    /** Of the checkpoint or MindIR that its export began with; empty where the file does not say. */
    public final String sourceSha256;
    /** {@code min_snr_db} and {@code min_top1_agreement} that its answers must keep to; empty where it does not say. */
    final Map<String, Double> bounds;
    /** False where the file carries no description and the usual input of ImageNet models is assumed. */
    public final boolean known;

    private Description(InputSpec input, List<String> labels, String precision, String sourceSha256,
            Map<String, Double> bounds, boolean known) {
        this.input = input;
        this.labels = Collections.unmodifiableList(labels);
        this.precision = precision;
        this.sourceSha256 = sourceSha256;
        this.bounds = Collections.unmodifiableMap(bounds);
        this.known = known;
    }

    /** Throws: DemoException unless {@code model} begins like a TFLite model of a size that can be run. */
    public static void check(String name, ByteBuffer model) throws DemoException {
        if (model.limit() == 0) {
            throw new DemoException(name + " is empty (0 bytes); copy it again");
        }
        if (model.limit() < 16 || model.duplicate().order(ByteOrder.BIG_ENDIAN).getInt(4) != 0x54464c33) { // "TFL3"
            throw new DemoException(name + " is not a TFLite model; take a .tflite file of 'ghostedge export'");
        }
        checkSize(name, model.limit());
    }

    /** Throws: DemoException for a file of more than {@link #MAX_MODEL_BYTES}; before it is mapped. */
    public static void checkSize(String name, long bytes) throws DemoException {
        if (bytes > MAX_MODEL_BYTES) {
            throw new DemoException(
                    name + " has " + (bytes >> 20) + " MiB; at most " + (MAX_MODEL_BYTES >> 20) + " MiB are loaded");
        }
    }

    /**
     * Reads the description behind a model.
     *
     * @param shape of the model's input, to assume ImageNet's usual input where the file carries none
     */
    public static Description of(String name, ByteBuffer model, int[] shape) throws DemoException {
        String json = ModelArchive.files(model).get(FILE);
        if (json == null) {
            return assumed(name, shape);
        }
        try {
            return fromJson(json);
        } catch (DemoException exc) {
            throw new DemoException(name + ": its description is damaged (" + exc.getMessage() + ")", exc);
        }
    }

    @SuppressWarnings("unchecked")
    static Description fromJson(String text) throws DemoException {
        Map<String, Object> json = Json.parseObject(text);
        Object version = json.get("schema_version");
        if (!Long.valueOf(1).equals(version)) {
            throw new DemoException("schema version " + version + ", this app reads 1; update it");
        }
        Object input = json.get("input");
        Object labels = json.get("labels");
        Object precision = json.get("precision");
        if (!(input instanceof Map) || !(labels instanceof List) || !(precision instanceof String)) {
            throw new DemoException("input, labels or precision is missing");
        }
        List<String> names = new ArrayList<>();
        for (Object label : (List<Object>) labels) {
            names.add(String.valueOf(label));
        }
        Object source = json.get("source_sha256");
        Object said = json.get("bounds");
        Map<String, Double> bounds = new LinkedHashMap<>();
        for (Map.Entry<String, Object> bound : said instanceof Map
                ? ((Map<String, Object>) said).entrySet() : new LinkedHashMap<String, Object>().entrySet()) {
            if (!(bound.getValue() instanceof Number)) {
                throw new DemoException("bounds." + bound.getKey() + " is not a number");
            }
            bounds.put(bound.getKey(), ((Number) bound.getValue()).doubleValue());
        }
        return new Description(InputSpec.fromJson((Map<String, Object>) input), names, (String) precision,
                source instanceof String ? (String) source : "", bounds, true);
    }

    private static Description assumed(String name, int[] shape) throws DemoException {
        boolean nhwc = shape.length == 4 && shape[3] == 3;
        if (shape.length != 4 || shape[0] != 1 || !(nhwc || shape[1] == 3)) {
            throw new DemoException(name + " does not take one picture of three colours; export it with ghostedge");
        }
        InputSpec spec = nhwc
                ? InputSpec.imagenet(false, shape[1], shape[2]) : InputSpec.imagenet(true, shape[2], shape[3]);
        return new Description(spec, new ArrayList<String>(), null, "", new LinkedHashMap<String, Double>(), false);
    }

    /** The name of a class; its number where the model carries no names. */
    public String label(int index) {
        return index >= 0 && index < labels.size() ? labels.get(index) : "class " + index;
    }
}
