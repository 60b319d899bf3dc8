package org.ghostedge.core;

import java.nio.ByteBuffer;

/** Logits of one picture, their five best classes and probabilities; filled again at every picture. */
public final class Prediction {
    /** How many of the best classes are kept. */
    public static final int TOP = 5;

    public final float[] logits;
    /** Best first, equal logits by the lower class; -1 beyond the number of classes. */
    public final int[] topClass = new int[TOP];

    public final float[] topLogit = new float[TOP];
    /** Softmax, 0..1. */
    public final float[] topProbability = new float[TOP];

    private final TensorInfo output;
    private final byte[] bytes;
    private double logSumExp;
    private boolean finite;

    /** Throws: DemoException unless the output is (1, classes). */
    public Prediction(TensorInfo output) throws DemoException {
        if (output.shape.length != 2 || output.shape[0] != 1 || output.shape[1] < 1) {
            throw new DemoException("the model's output is not a row of classes; it is no classifier of ghostedge");
        }
        this.output = output;
        logits = new float[output.size()];
        bytes = output.type == TensorInfo.Type.FLOAT32 ? null : new byte[output.size()];
    }

    /**
     * Takes a model's output.
     *
     * @param tensor its bytes, native order, read from the start
     */
    public void set(ByteBuffer tensor) {
        tensor.clear();
        if (bytes == null) {
            for (int i = 0; i < logits.length; i++) {
                logits[i] = tensor.getFloat(4 * i);
            }
        } else {
            tensor.get(bytes);
            tensor.clear();
            for (int i = 0; i < logits.length; i++) {
                int value = output.type == TensorInfo.Type.INT8 ? bytes[i] : bytes[i] & 0xff;
                // (q - z) * s in float32, as TFLiteRuntime of ghostedge does; an output without a scale is itself.
                logits[i] = output.scale == 0 ? value : ((float) value - (float) output.zeroPoint) * output.scale;
            }
        }
        rank();
    }

    private void rank() {
        int count = 0;
        finite = true;
        for (int i = 0; i < TOP; i++) {
            topClass[i] = -1;
            topLogit[i] = Float.NaN;
            topProbability[i] = Float.NaN;
        }
        for (int index = 0; index < logits.length; index++) {
            float value = logits[index];
            finite &= !Float.isNaN(value) && !Float.isInfinite(value);
            int place = count;
            while (place > 0 && value > topLogit[place - 1]) {
                place--;
            }
            if (place < TOP) {
                for (int i = Math.min(count, TOP - 1); i > place; i--) {
                    topClass[i] = topClass[i - 1];
                    topLogit[i] = topLogit[i - 1];
                }
                topClass[place] = index;
                topLogit[place] = value;
                count = Math.min(count + 1, TOP);
            }
        }
        double sum = 0;
        for (float value : logits) {
            sum += Math.exp((double) value - topLogit[0]);
        }
        logSumExp = topLogit[0] + Math.log(sum);
        for (int i = 0; i < count; i++) {
            topProbability[i] = (float) Math.exp(topLogit[i] - logSumExp);
        }
    }

    /** Log of the sum of exp(logit) over all classes. */
    public double logSumExp() {
        return logSumExp;
    }

    /** Whether no logit is infinite or NaN. */
    public boolean finite() {
        return finite;
    }
}
