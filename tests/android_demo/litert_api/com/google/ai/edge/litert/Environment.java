package com.google.ai.edge.litert;

import java.util.Set;

public final class Environment implements AutoCloseable {
    private Environment() {}

    public static Environment create() throws LiteRtException {
        throw new UnsupportedOperationException();
    }

    public Set<Accelerator> getAvailableAccelerators() throws LiteRtException {
        throw new UnsupportedOperationException();
    }

    @Override
    public void close() {}
}
