package org.ghostedge.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import java.util.Map;
import org.junit.Test;

/** What goes into a model and comes out: types, ranges, layouts, quantisation, the best five; held to Python's. */
public class TensorTest {
    private static TensorInfo.Type type(Object name) {
        return TensorInfo.Type.valueOf(String.valueOf(name).toUpperCase(java.util.Locale.ROOT));
    }

    @Test
    @SuppressWarnings("unchecked")
    public void tensorsAreThoseOfPython() throws Exception {
        for (Map<String, Object> each : TestData.<Map<String, Object>>golden("encode")) {
            InputSpec spec = InputSpec.fromJson((Map<String, Object>) each.get("spec"));
            TensorInfo info = new TensorInfo(type(each.get("type")), spec.shape(),
                    ((Double) each.get("scale")).floatValue(), TestData.integer(each, "zero"));
            InputEncoder encoder = new InputEncoder(spec, info);
            encoder.encode(TestData.picture(spec.width, spec.height));
            assertEquals(each.toString(), each.get("sha256"), ModelFile.sha256(encoder.tensor()));
        }
    }

    @Test
    public void integerOutputsAreDequantisedAsPythonDoes() throws Exception {
        for (Map<String, Object> each : TestData.<Map<String, Object>>golden("dequantise")) {
            TensorInfo info = new TensorInfo(type(each.get("type")), new int[] {1, 256},
                    ((Double) each.get("scale")).floatValue(), TestData.integer(each, "zero"));
            ByteBuffer bytes = ByteBuffer.allocate(256);
            for (int i = 0; i < 256; i++) {
                bytes.put(i, (byte) i);
            }
            Prediction prediction = new Prediction(info);
            prediction.set(bytes);
            ByteBuffer logits = ByteBuffer.allocate(1024).order(ByteOrder.LITTLE_ENDIAN);
            for (float value : prediction.logits) {
                logits.putFloat(value);
            }
            assertEquals(each.toString(), each.get("sha256"), ModelFile.sha256(logits));
        }
    }

    @Test
    public void theBestFiveAreThoseOfPython() throws Exception {
        for (Map<String, Object> each : TestData.<Map<String, Object>>golden("top5")) {
            List<?> logits = (List<?>) each.get("logits");
            List<?> classes = (List<?>) each.get("classes");
            Prediction prediction = new Prediction(
                    new TensorInfo(TensorInfo.Type.FLOAT32, new int[] {1, logits.size()}, 0, 0));
            ByteBuffer bytes = ByteBuffer.allocate(4 * logits.size()).order(ByteOrder.nativeOrder());
            for (Object value : logits) {
                bytes.putFloat(((Double) value).floatValue());
            }
            prediction.set(bytes);
            int[] expected = new int[Prediction.TOP];
            double sum = 0;
            for (int i = 0; i < expected.length; i++) {
                expected[i] = ((Long) classes.get(i)).intValue();
                if (expected[i] >= 0) {
                    assertEquals(((Double) logits.get(expected[i])).floatValue(), prediction.topLogit[i], 0);
                    sum += prediction.topProbability[i];
                }
            }
            assertArrayEquals(each.toString(), expected, prediction.topClass);
            double logSumExp = (Double) each.get("log_sum_exp");
            assertEquals(logSumExp, prediction.logSumExp(), 1e-6 * Math.abs(logSumExp) + 1e-6); // Python's is float32
            assertTrue(sum <= 1.000001);
            assertTrue(prediction.finite());
        }
    }

    @Test
    public void infinityIsNoticed() throws Exception {
        Prediction prediction = new Prediction(new TensorInfo(TensorInfo.Type.FLOAT32, new int[] {1, 4}, 0, 0));
        FakeEngine engine = new FakeEngine(8);
        engine.infinite = true;
        prediction.set(engine.run(ByteBuffer.allocate(4 * 192)));
        assertFalse(prediction.finite());
    }

    @Test
    public void aModelThatIsNotItsDescriptionIsRefused() throws Exception {
        InputSpec spec = TestData.spec(36, 32, 32);
        int[] shape = {1, 32, 32, 3};
        TensorInfo[] wrong = {
            new TensorInfo(TensorInfo.Type.FLOAT32, new int[] {1, 31, 32, 3}, 0, 0),
            new TensorInfo(TensorInfo.Type.INT8, shape, 0, 0),
            new TensorInfo(TensorInfo.Type.UINT8, shape, 0, 0),
        };
        for (TensorInfo info : wrong) {
            try {
                new InputEncoder(spec, info);
                fail(info.dtype());
            } catch (DemoException exc) {
                assertTrue(exc.getMessage(), exc.getMessage().contains("description"));
            }
        }
        new InputEncoder(spec, new TensorInfo(TensorInfo.Type.INT8, shape, 0.02f, 0));
        try {
            new Prediction(new TensorInfo(TensorInfo.Type.FLOAT32, new int[] {1, 7, 7, 960}, 0, 0));
            fail("features are no classes");
        } catch (DemoException exc) {
            assertTrue(exc.getMessage().contains("classes"));
        }
    }
}
