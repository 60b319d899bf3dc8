package org.ghostedge.demo;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.ghostedge.core.DemoException;
import org.ghostedge.core.Engine;
import org.ghostedge.core.EngineSettings;
import org.ghostedge.core.ModelFile;
import org.ghostedge.core.TensorInfo;
import org.tensorflow.lite.DataType;
import org.tensorflow.lite.Interpreter;
import org.tensorflow.lite.Tensor;

/** A model on the CPU, by the Interpreter that TensorFlow Lite and LiteRT both have under this name. */
final class InterpreterEngine implements Engine {
    private final Interpreter interpreter;
    private final TensorInfo input;
    private final TensorInfo output;
    private final ByteBuffer result;

    /** @param needs what the library needs of a phone, for the message where it does not load */
    InterpreterEngine(ModelFile model, EngineSettings settings, String needs) throws DemoException {
        Interpreter made = null;
        try {
            Interpreter.Options options = new Interpreter.Options();
            options.setNumThreads(settings.threads);
            options.setUseXNNPACK(settings.xnnpack);
            made = new Interpreter(model.bytes, options);
            if (made.getInputTensorCount() != 1 || made.getOutputTensorCount() != 1) {
                throw new DemoException(model.name + " has " + made.getInputTensorCount() + " inputs and "
                        + made.getOutputTensorCount() + " outputs; models with one of each are run");
            }
            int[] shape = made.getInputTensor(0).shape();
            if (shape.length == 4 && shape[0] != 1) {
                shape[0] = 1;
                made.resizeInput(0, shape);
            }
            made.allocateTensors();
            input = describe(model.name, made.getInputTensor(0));
            output = describe(model.name, made.getOutputTensor(0));
            result = ByteBuffer.allocateDirect(output.size() * output.type.bytes).order(ByteOrder.nativeOrder());
        } catch (DemoException exc) {
            made.close();
            throw exc;
        } catch (RuntimeException exc) { // what the library throws for a model is an open set
            if (made != null) {
                made.close();
            }
            throw new DemoException(model.name + " cannot be loaded: " + oneLine(exc) + "; copy it again", exc);
        } catch (LinkageError exc) {
            throw new DemoException("the library that runs models needs " + needs + ", and does not load on this phone: "
                    + oneLine(exc), exc);
        }
        interpreter = made;
    }

    private static TensorInfo describe(String name, Tensor tensor) throws DemoException {
        TensorInfo.Type type;
        DataType found = tensor.dataType();
        if (found == DataType.FLOAT32) {
            type = TensorInfo.Type.FLOAT32;
        } else if (found == DataType.UINT8) {
            type = TensorInfo.Type.UINT8;
        } else if (found == DataType.INT8) {
            type = TensorInfo.Type.INT8;
        } else {
            throw new DemoException(name + " takes or gives " + found + "; float32, uint8 and int8 are run");
        }
        Tensor.QuantizationParams quantization = tensor.quantizationParams();
        return new TensorInfo(type, tensor.shape(), quantization.getScale(), quantization.getZeroPoint());
    }

    static String oneLine(Throwable exc) {
        String text = String.valueOf(exc.getMessage()).replaceAll("\\s+", " ").trim();
        return text.length() > 300 ? text.substring(0, 300) : text;
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
            result.clear();
            interpreter.run(tensor, result);
            return result;
        } catch (RuntimeException exc) {
            throw new DemoException("the model failed while it ran: " + oneLine(exc), exc);
        }
    }

    @Override
    public void close() {
        interpreter.close();
    }
}
