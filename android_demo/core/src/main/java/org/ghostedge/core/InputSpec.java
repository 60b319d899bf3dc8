package org.ghostedge.core;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What a model's input tensor holds and how an image becomes it; ghostedge.model.InputSpec is the definition.
 *
 * <p>{@code mean} and {@code std} are per channel R, G, B on the scale 0..1, whatever the order in the tensor.
 */
public final class InputSpec {
    public final boolean nchw;
    public final boolean uint8;
    public final boolean normalised;
    public final int height;
    public final int width;
    public final int resize;
    public final String resizeRule;
    public final double[] mean;
    public final double[] std;
    public final boolean bgr;

    private InputSpec(Map<String, Object> fields) throws DemoException {
        nchw = choice(fields, "layout", "NHWC", "NCHW");
        uint8 = choice(fields, "dtype", "float32", "uint8");
        normalised = choice(fields, "range", "raw", "normalised");
        bgr = choice(fields, "colour_order", "RGB", "BGR");
        resizeRule = choice(fields, "resize_rule", "opencv_linear", "pillow_bilinear")
                ? "pillow_bilinear" : "opencv_linear";
        height = whole(fields, "height");
        width = whole(fields, "width");
        resize = whole(fields, "resize");
        mean = three(fields, "mean");
        std = three(fields, "std");
        if (uint8 && normalised) {
            throw new DemoException("InputSpec: dtype uint8 needs range raw");
        }
        if (Math.min(height, width) < 1 || resize < Math.max(height, width) || resize > 4096) {
            throw new DemoException(
                    "InputSpec: cannot cut " + height + "x" + width + " out of a shorter side of " + resize);
        }
        if (Math.min(std[0], Math.min(std[1], std[2])) <= 0) {
            throw new DemoException("InputSpec: std must be above zero");
        }
    }

    /** MindSpore's evaluation transform at another size; the defaults of ghostedge.model.InputSpec. */
    public static InputSpec imagenet(boolean nchw, int height, int width) throws DemoException {
        Map<String, Object> fields = defaults();
        fields.put("layout", nchw ? "NCHW" : "NHWC");
        fields.put("height", (long) height);
        fields.put("width", (long) width);
        fields.put("resize", Math.round(Math.max(height, width) * 256 / 224.0));
        return new InputSpec(fields);
    }

    /** Reads what {@code InputSpec.to_dict} of Python wrote. Throws: DemoException that names the field. */
    public static InputSpec fromJson(Map<String, Object> json) throws DemoException {
        Map<String, Object> fields = defaults();
        for (Map.Entry<String, Object> entry : json.entrySet()) {
            if (!fields.containsKey(entry.getKey())) {
                throw new DemoException("InputSpec has no field '" + entry.getKey() + "'; update this app");
            }
            fields.put(entry.getKey(), entry.getValue());
        }
        return new InputSpec(fields);
    }

    private static Map<String, Object> defaults() {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("layout", "NCHW");
        fields.put("dtype", "float32");
        fields.put("range", "normalised");
        fields.put("height", 224L);
        fields.put("width", 224L);
        fields.put("resize", 256L);
        fields.put("resize_rule", "opencv_linear");
        fields.put("mean", Arrays.<Object>asList(0.485, 0.456, 0.406));
        fields.put("std", Arrays.<Object>asList(0.229, 0.224, 0.225));
        fields.put("colour_order", "RGB");
        return fields;
    }

    /** The same JSON as Python's {@code to_dict}, for the metadata of a ledger. */
    public Map<String, Object> toJson() {
        Map<String, Object> fields = defaults();
        fields.put("layout", nchw ? "NCHW" : "NHWC");
        fields.put("dtype", uint8 ? "uint8" : "float32");
        fields.put("range", normalised ? "normalised" : "raw");
        fields.put("height", height);
        fields.put("width", width);
        fields.put("resize", resize);
        fields.put("resize_rule", resizeRule);
        fields.put("mean", mean);
        fields.put("std", std);
        fields.put("colour_order", bgr ? "BGR" : "RGB");
        return fields;
    }

    /** The shape of one image: (1, 3, height, width) or (1, height, width, 3). */
    public int[] shape() {
        return nchw ? new int[] {1, 3, height, width} : new int[] {1, height, width, 3};
    }

    private static boolean choice(Map<String, Object> fields, String name, String no, String yes)
            throws DemoException {
        Object value = fields.get(name);
        if (!yes.equals(value) && !no.equals(value)) {
            throw new DemoException("InputSpec." + name + " is " + value + "; it must be " + no + " or " + yes);
        }
        return yes.equals(value);
    }

    private static int whole(Map<String, Object> fields, String name) throws DemoException {
        Object value = fields.get(name);
        if (!(value instanceof Long) || (Long) value < 0 || (Long) value > 1 << 16) {
            throw new DemoException("InputSpec." + name + " is " + value + "; it must be a number of pixels");
        }
        return ((Long) value).intValue();
    }

    private static double[] three(Map<String, Object> fields, String name) throws DemoException {
        Object value = fields.get(name);
        double[] numbers = new double[3];
        boolean good = value instanceof List && ((List<?>) value).size() == 3;
        for (int i = 0; good && i < 3; i++) {
            Object item = ((List<?>) value).get(i);
            good = item instanceof Number;
            numbers[i] = good ? ((Number) item).doubleValue() : 0;
        }
        if (!good) {
            throw new DemoException("InputSpec." + name + " must hold three numbers");
        }
        return numbers;
    }
}
