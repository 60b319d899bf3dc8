package org.ghostedge.demo;

import android.content.Context;
import android.util.Log;
import com.google.ai.edge.litert.Accelerator;
import com.google.ai.edge.litert.Environment;
import com.google.ai.edge.litert.LiteRtException;
import org.ghostedge.core.DemoException;
import org.ghostedge.core.Engine;
import org.ghostedge.core.EngineFactory;
import org.ghostedge.core.EngineSettings;
import org.ghostedge.core.ModelFile;

/**
 * LiteRT, of Google's Maven: what Gradle puts into an APK.
 *
 * <p>Its Interpreter, the same as TensorFlow Lite's, knows the CPU alone; the GPU is behind its CompiledModel.
 */
final class Engines implements EngineFactory {
    /** Whether this device has a GPU that LiteRT knows; null until it was asked. */
    private static Boolean gpu;

    private final Context context;

    Engines(Context context) {
        this.context = context.getApplicationContext();
    }

    @Override
    public String name() {
        return "litert";
    }

    /** That of the artifact: what the library tells itself is the version of TensorFlow that it was built with. */
    @Override
    public String version() {
        return BuildConfig.LITERT_VERSION;
    }

    @Override
    public boolean hasGpu() {
        return findGpu();
    }

    private static synchronized boolean findGpu() {
        if (gpu == null) {
            try (Environment environment = Environment.create()) {
                gpu = environment.getAvailableAccelerators().contains(Accelerator.GPU);
            } catch (LiteRtException | RuntimeException | LinkageError exc) {
                Log.w(Failures.TAG, exc);
                gpu = false;
            }
        }
        return gpu;
    }

    @Override
    public Engine load(ModelFile model, EngineSettings settings) throws DemoException {
        InterpreterEngine cpu = new InterpreterEngine(model, settings, "a 64-bit ARM processor");
        if (!settings.gpu) {
            return cpu;
        }
        try {
            return new GpuEngine(context, model, cpu.input(), cpu.output());
        } finally {
            cpu.close();
        }
    }
}
