package org.ghostedge.core;

/** Loads models into engines. Which library interprets them is known to it alone; an APK holds one. */
public interface EngineFactory {
    /** As records name the library: {@code "tflite-runtime"} or {@code "litert"}. */
    String name();

    /** The library's version. */
    String version();

    /** Whether {@link #load} can be asked for the GPU: the library brings one, and it found this device's. */
    boolean hasGpu();

    /** Throws: DemoException where the library refuses the model or the settings. */
    Engine load(ModelFile model, EngineSettings settings) throws DemoException;
}
