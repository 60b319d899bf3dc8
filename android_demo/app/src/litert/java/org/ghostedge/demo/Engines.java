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
    private static final String NEEDS = "a 64-bit ARM processor";

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
        if (!settings.gpu) {
            return new InterpreterEngine(model, settings, NEEDS);
        }
        // It only says what the tensors are, which CompiledModel does not; XNNPACK would copy the weights for that.
        try (Engine cpu = new InterpreterEngine(model, new EngineSettings(1, false, false), NEEDS)) {
            return new GpuEngine(context, model, cpu.input(), cpu.output());
        }
    }
}
