package org.ghostedge.core;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;

/** Give a cropped picture the range, colour order, layout and type of the model's input, by a table of 256 values. */
public final class InputEncoder {
    private final InputSpec spec;
    private final ByteBuffer tensor;
    private final FloatBuffer floats;
    private final float[] floatValues;
    private final byte[] byteValues;
    private final float[][] floatTable = new float[3][256];
    private final byte[][] byteTable = new byte[3][256];

    /** Throws: DemoException where the model's input is not what {@code spec} says. */
    public InputEncoder(InputSpec spec, TensorInfo input) throws DemoException {
        input.check(spec);
        this.spec = spec;
        tensor = ByteBuffer.allocateDirect(input.size() * input.type.bytes).order(ByteOrder.nativeOrder());
        boolean real = input.type == TensorInfo.Type.FLOAT32;
        floats = real ? tensor.asFloatBuffer() : null;
        floatValues = real ? new float[input.size()] : null;
        byteValues = real ? null : new byte[input.size()];
        for (int channel = 0; channel < 3; channel++) {
            float mean = (float) (255 * spec.mean[channel]);
            float std = (float) (255 * spec.std[channel]);
            for (int x = 0; x < 256; x++) {
                float value = spec.normalised ? ((float) x - mean) / std : (float) x;
                floatTable[channel][x] = value;
                byteTable[channel][x] = spec.uint8 || real ? (byte) x : quantised(value, input);
            }
        }
    }

    /** {@code round(real / scale) + zero point}, halves to even, clipped: as TFLiteRuntime of ghostedge does. */
    private static byte quantised(float real, TensorInfo input) {
        float value = (float) Math.rint(real / input.scale) + input.zeroPoint;
        int low = input.type == TensorInfo.Type.INT8 ? -128 : 0;
        return (byte) (int) Math.max(low, Math.min(low + 255, value));
    }

    /** The model's input: direct, native byte order; the same buffer at every call. */
    public ByteBuffer tensor() {
        return tensor;
    }

    /**
     * Fills {@link #tensor()}.
     *
     * @param crop uint8 (height, width, 3), RGB, of {@link Preprocessor#crop}
     */
    public void encode(byte[] crop) {
        int pixels = crop.length / 3;
        int step = spec.nchw ? 1 : 3;
        for (int channel = 0; channel < 3; channel++) {
            int place = spec.bgr ? 2 - channel : channel;
            int at = spec.nchw ? place * pixels : place;
            if (floatValues != null) {
                float[] table = floatTable[channel];
                for (int i = channel; i < crop.length; i += 3, at += step) {
                    floatValues[at] = table[crop[i] & 0xff];
                }
            } else {
                byte[] table = byteTable[channel];
                for (int i = channel; i < crop.length; i += 3, at += step) {
                    byteValues[at] = table[crop[i] & 0xff];
                }
            }
        }
        if (floatValues != null) {
            floats.clear();
            floats.put(floatValues);
        } else {
            tensor.clear();
            tensor.put(byteValues);
        }
        tensor.clear();
    }
}
