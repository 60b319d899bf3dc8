package org.ghostedge.core;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** The model of tests/data/linear in Java: mean over the 8 x 8 pixels times weights plus bias. TFLite is Android's. */
class FakeEngine implements Engine {
    /** Of a library with a GPU. */
    static class Factory implements EngineFactory {
        @Override
        public String name() {
            return "litert";
        }

        @Override
        public String version() {
            return "2.3.0";
        }

        @Override
        public boolean hasGpu() {
            return true;
        }

        @Override
        public Engine load(ModelFile model, EngineSettings settings) throws DemoException {
            return new FakeEngine(8);
        }
    }

    private static final float[][] WEIGHTS = {{1, 0, -1, 0.5f}, {0, 1, -1, 0.5f}, {0.25f, -0.25f, 1, 0.5f}};
    private static final float[] BIAS = {0.1f, -0.2f, 0.3f, 0.0f};

    private final int side;
    private final ByteBuffer out = ByteBuffer.allocateDirect(16).order(ByteOrder.nativeOrder());
    int runs;
    boolean closed;
    boolean infinite;

    FakeEngine(int side) {
        this.side = side;
    }

    @Override
    public TensorInfo input() {
        return new TensorInfo(TensorInfo.Type.FLOAT32, new int[] {1, side, side, 3}, 0, 0);
    }

    @Override
    public TensorInfo output() {
        return new TensorInfo(TensorInfo.Type.FLOAT32, new int[] {1, 4}, 0, 0);
    }

    @Override
    public ByteBuffer run(ByteBuffer input) {
        runs++;
        double red = 0;
        double green = 0;
        double blue = 0;
        int pixels = side * side;
        for (int i = 0; i < pixels; i++) {
            red += input.getFloat(12 * i);
            green += input.getFloat(12 * i + 4);
            blue += input.getFloat(12 * i + 8);
        }
        for (int k = 0; k < 4; k++) {
            double value = red / pixels * WEIGHTS[0][k] + green / pixels * WEIGHTS[1][k]
                    + blue / pixels * WEIGHTS[2][k] + BIAS[k];
            out.putFloat(4 * k, infinite ? Float.POSITIVE_INFINITY : (float) value);
        }
        return out;
    }

    @Override
    public void close() {
        closed = true;
    }
}
