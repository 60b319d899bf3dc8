package com.google.ai.edge.litert;

import android.content.res.AssetManager;
import java.util.List;

public final class CompiledModel implements AutoCloseable {
    public static final class Options {
        public Options(Accelerator... accelerators) {}
    }

    private CompiledModel() {}

    public static CompiledModel create(AssetManager assets, String name, Options options) throws LiteRtException {
        throw new UnsupportedOperationException();
    }

    public static CompiledModel create(String path, Options options) throws LiteRtException {
        throw new UnsupportedOperationException();
    }

    public List<TensorBuffer> createInputBuffers() throws LiteRtException {
        throw new UnsupportedOperationException();
    }

    public List<TensorBuffer> createOutputBuffers() throws LiteRtException {
        throw new UnsupportedOperationException();
    }

    public void run(List<TensorBuffer> inputs, List<TensorBuffer> outputs) throws LiteRtException {}

    @Override
    public void close() {}
}
