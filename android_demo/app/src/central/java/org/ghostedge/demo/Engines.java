package org.ghostedge.demo;

import android.content.Context;
import org.ghostedge.core.DemoException;
import org.ghostedge.core.Engine;
import org.ghostedge.core.EngineFactory;
import org.ghostedge.core.EngineSettings;
import org.ghostedge.core.ModelFile;
import org.tensorflow.lite.TensorFlowLite;

/** TensorFlow Lite, the last one that Maven Central has: what build.sh puts into an APK. */
final class Engines implements EngineFactory {
    /** @param context not needed here; the other Engines, in src/litert, needs it */
    Engines(Context context) {}

    @Override
    public String name() {
        return "tflite-runtime";
    }

    @Override
    public String version() {
        return TensorFlowLite.runtimeVersion();
    }

    @Override
    public boolean hasGpu() {
        return false;
    }

    @Override
    public Engine load(ModelFile model, EngineSettings settings) throws DemoException {
        if (settings.gpu) {
            throw new DemoException("this app runs models on the CPU alone; for the GPU install the one that Gradle "
                    + "builds, which holds LiteRT");
        }
        return new InterpreterEngine(model, settings, "a 64-bit ARM processor and 4 KB memory pages");
    }
}
