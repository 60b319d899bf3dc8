package com.google.ai.edge.litert;

public final class TensorBuffer implements AutoCloseable {
    private TensorBuffer() {}

    public void writeFloat(float[] data) throws LiteRtException {}

    public float[] readFloat() throws LiteRtException {
        throw new UnsupportedOperationException();
    }

    @Override
    public void close() {}
}
