package org.ghostedge.core;

import java.io.Closeable;
import java.nio.ByteBuffer;

/** One loaded model, whatever interprets it: TFLite on the phone, a fake on a desktop JVM. */
public interface Engine extends Closeable {
    /** What the model takes. */
    TensorInfo input();

    /** What it gives. */
    TensorInfo output();

    /**
     * Copies in, infers, copies out.
     *
     * @param input direct, native order, the whole tensor
     * @return the output's bytes, native order; the same buffer at every call
     * @throws DemoException where the interpreter fails
     */
    ByteBuffer run(ByteBuffer input) throws DemoException;

    /** Frees the model. Calling it twice is harmless. */
    @Override
    void close();
}
