package org.ghostedge.demo;

import android.content.Context;
import com.google.ai.edge.litert.Accelerator;
import com.google.ai.edge.litert.CompiledModel;
import com.google.ai.edge.litert.LiteRtException;
import com.google.ai.edge.litert.TensorBuffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import org.ghostedge.core.DemoException;
import org.ghostedge.core.Engine;
import org.ghostedge.core.ModelFile;
import org.ghostedge.core.TensorInfo;

/** A float32 model on the GPU: all of it, or it is refused, so that no number is of the CPU by mistake. */
final class GpuEngine implements Engine {
    private final TensorInfo input;
    private final TensorInfo output;
    private final float[] numbers;
    private final ByteBuffer result;
    private CompiledModel compiled;
    private List<TensorBuffer> inputs;
    private List<TensorBuffer> outputs;

    /** @param input what the model takes and {@code output} gives, as the Interpreter describes them */
    GpuEngine(Context context, ModelFile model, TensorInfo input, TensorInfo output) throws DemoException {
        if (input.type != TensorInfo.Type.FLOAT32 || output.type != TensorInfo.Type.FLOAT32) {
            throw new DemoException(model.name + " takes or gives integers, which the GPU is not run with; run it on "
                    + "the CPU, or take a float model");
        }
        this.input = input;
        this.output = output;
        numbers = new float[input.size()];
        result = ByteBuffer.allocateDirect(4 * output.size()).order(ByteOrder.nativeOrder());
        try {
            // Without Accelerator.CPU beside it: with it, what the GPU lacks would run on the CPU unsaid.
            CompiledModel.Options options = new CompiledModel.Options(Accelerator.GPU);
            compiled = model.file != null ? CompiledModel.create(model.file.getPath(), options)
                    : CompiledModel.create(context.getAssets(), Models.BUNDLED + model.name, options);
            inputs = compiled.createInputBuffers();
            outputs = compiled.createOutputBuffers();
        } catch (LiteRtException | RuntimeException | LinkageError exc) { // what drivers throw is an open set
            close();
            throw new DemoException(model.name + " does not run on this phone's GPU: "
                    + InterpreterEngine.oneLine(exc) + "; run it on the CPU", exc);
        }
    }

    @Override
    public TensorInfo input() {
        return input;
    }

    @Override
    public TensorInfo output() {
        return output;
    }

    @Override
    public ByteBuffer run(ByteBuffer tensor) throws DemoException {
        try {
            tensor.clear();
            tensor.asFloatBuffer().get(numbers);
            inputs.get(0).writeFloat(numbers);
            compiled.run(inputs, outputs);
            result.clear();
            result.asFloatBuffer().put(outputs.get(0).readFloat()); // reading waits for the GPU
            return result;
        } catch (LiteRtException | RuntimeException exc) {
            throw new DemoException("the model failed while it ran on the GPU: " + InterpreterEngine.oneLine(exc), exc);
        }
    }

    @Override
    public void close() {
        free(inputs);
        free(outputs);
        inputs = null;
        outputs = null;
        if (compiled != null) {
            compiled.close();
            compiled = null;
        }
    }

    private static void free(List<TensorBuffer> buffers) {
        if (buffers != null) {
            for (TensorBuffer buffer : buffers) {
                buffer.close();
            }
        }
    }
}
