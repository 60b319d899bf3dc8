package org.ghostedge.core;

/** Loads models into engines: the one place that knows the interpreter. */
public interface EngineFactory {
    /** Throws: DemoException where the interpreter refuses the model. */
    Engine load(ModelFile model, int threads, boolean xnnpack) throws DemoException;

    /** The interpreter's version. */
    String version();
}
