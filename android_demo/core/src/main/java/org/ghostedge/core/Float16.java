package org.ghostedge.core;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;

/** What an engine computes floating-point operators in; of XNNPACK by the rule of ghostedge/tflite/float16.py. */
public final class Float16 {
    private Float16() {}

    /**
     * {@code "f16"} on the GPU, which LiteRT's documentation says computes so unless it is told otherwise; on the CPU
     * where the model allows it (TensorFlow's reduced_precision_metadata.h) and the CPU has float16 arithmetic, scalar
     * and vector; else {@code "f32"}.
     *
     * @param cpuinfo the text of /proc/cpuinfo; null where it cannot be read
     */
    public static String inferencePrecision(ByteBuffer model, EngineSettings settings, String cpuinfo) {
        boolean cpu = has(cpuinfo, "fphp") && has(cpuinfo, "asimdhp");
        boolean allowed = settings.xnnpack && cpu && contains(model, "reduced_precision_support")
                && contains(model, "fp16accfp16");
        return settings.gpu || allowed ? "f16" : "f32";
    }

    private static boolean has(String cpuinfo, String feature) {
        for (String line : cpuinfo == null ? new String[0] : cpuinfo.split("\n")) {
            if (line.startsWith("Features") && (line + " ").contains(" " + feature + " ")) {
                return true;
            }
        }
        return false;
    }

    private static boolean contains(ByteBuffer data, String wanted) {
        byte[] bytes = wanted.getBytes(StandardCharsets.US_ASCII);
        for (int start = data.limit() - bytes.length; start >= 0; start--) {
            int same = 0;
            while (same < bytes.length && data.get(start + same) == bytes[same]) {
                same++;
            }
            if (same == bytes.length) {
                return true;
            }
        }
        return false;
    }
}
