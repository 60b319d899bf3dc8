package org.ghostedge.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import java.util.Map;
import org.junit.Test;

/** The numbers, bounds and words of edge_benchmark.py on the same answers: golden.json has what it says of them. */
public class VerificationTest {
    private static final String DESCRIPTION = "{\"schema_version\":1,\"input\":{\"layout\":\"NHWC\",\"height\":8,"
            + "\"width\":8,\"resize\":9},\"labels\":[],\"precision\":\"fp32\",\"bounds\":";

    private static final Progress SILENT = new Progress() {
        @Override
        public void progress(String text, int done, int total) {
            assertTrue(text, done <= total);
        }
    };

    /** Inference i gives row order[i], in some seconds of its own clock. */
    private static final class Scripted extends FakeEngine implements Timer.Clock {
        private final List<?> rows;
        private final List<?> order;
        private final double seconds;
        private final ByteBuffer out;
        private long now;

        Scripted(List<?> rows, List<?> order, double seconds) {
            super(8);
            this.rows = rows;
            this.order = order;
            this.seconds = seconds;
            out = ByteBuffer.allocateDirect(4 * classes()).order(ByteOrder.nativeOrder());
        }

        private int classes() {
            return ((List<?>) rows.get(0)).size();
        }

        @Override
        public TensorInfo output() {
            return new TensorInfo(TensorInfo.Type.FLOAT32, new int[] {1, classes()}, 0, 0);
        }

        @Override
        public ByteBuffer run(ByteBuffer input) {
            float[] row = floats((List<?>) rows.get(((Long) order.get(runs)).intValue()));
            runs++;
            now += (long) (1e9 * seconds);
            out.clear();
            out.asFloatBuffer().put(row);
            return out;
        }

        @Override
        public long nanoTime() {
            return now;
        }
    }

    private static float[] floats(List<?> values) {
        float[] out = new float[values.size()];
        for (int i = 0; i < out.length; i++) {
            Object value = values.get(i);
            out[i] = value instanceof String ? Float.parseFloat((String) value) : ((Number) value).floatValue();
        }
        return out;
    }

    private static Golden golden(List<?> wanted, String source, int height) {
        int classes = ((List<?>) wanted.get(0)).size();
        float[] logits = new float[wanted.size() * classes];
        String[] names = new String[wanted.size()];
        for (int i = 0; i < names.length; i++) {
            System.arraycopy(floats((List<?>) wanted.get(i)), 0, logits, i * classes, classes);
            names[i] = "photo" + i + ".jpeg";
        }
        byte[] crops = new byte[names.length * 3 * height * 8];
        return new Golden("x.golden.npz", "00", height, 8, crops, logits, names, source);
    }

    private static Description description(Object said) throws DemoException {
        return Description.fromJson(DESCRIPTION + Json.write(said) + "}");
    }

    @Test
    public void everyCaseHasTheRecordOfTheScript() throws Exception {
        int wrong = 0;
        for (Map<String, Object> each : TestData.<Map<String, Object>>golden("verification")) {
            String name = (String) each.get("name");
            List<?> order = (List<?>) each.get("order");
            Scripted engine =
                    new Scripted((List<?>) each.get("rows"), order, ((Number) each.get("seconds")).doubleValue());
            Description description = description(each.get("said"));
            Bounds bounds = Bounds.of(description, (String) each.get("precision"));
            Golden golden = golden((List<?>) each.get("wanted"), "", 8);
            Verification verification = new Verification(golden, "m.tflite", description, engine);
            Timer timer = new Timer(engine, new Cancellation());
            verification.first(bounds, timer, new Cancellation(), SILENT, Verification.Effort.RECORD);
            verification.again();
            assertEquals(name, order.size(), engine.runs);
            Map<String, Object> record = verification.record();
            record.remove("golden");
            Object again = Json.parse(Json.write(record));
            assertEquals(name, Json.write(each.get("record")), Json.write(again));
            wrong += Boolean.FALSE.equals(record.get("correct")) ? 1 : 0;
        }
        assertTrue("right ones and wrong ones: " + wrong, wrong > 5);
    }

    @Test
    public void boundsAreThoseOfTheScript() throws Exception {
        for (Map<String, Object> each : TestData.<Map<String, Object>>golden("bounds")) {
            Bounds bounds = Bounds.of(description(each.get("said")), (String) each.get("precision"));
            assertEquals(Json.write(each.get("bounds")), Json.write(bounds.toJson()));
        }
    }

    @Test
    public void boundsThatAreNoNumbersAreRefused() {
        try {
            Description.fromJson(DESCRIPTION + "{\"min_snr_db\":\"high\"}}");
            fail("a text is no bound");
        } catch (DemoException exc) {
            assertEquals("bounds.min_snr_db is not a number", exc.getMessage());
        }
    }

    @Test
    public void numbersAreWrittenAsPythonWritesThem() throws Exception {
        for (Map<String, Object> each : TestData.<Map<String, Object>>golden("words")) {
            double value = (Double) each.get("value");
            assertEquals(each.get("fixed"), Comparison.fixed(value, 1));
            assertEquals(each.get("percent"), Comparison.percent(value));
            assertEquals(each.get("general"), Comparison.general(value));
        }
    }

    @Test
    public void goldenVectorsOfAnotherModelAreRefusedInTheWordsOfTheScript() throws Exception {
        ModelFile linear = TestData.linear();
        Description description = Description.of(linear.name, linear.bytes, new int[] {1, 8, 8, 3});
        for (Map<String, Object> each : TestData.<Map<String, Object>>golden("misfits")) {
            int classes = TestData.integer(each, "classes");
            List<?> wanted = java.util.Collections.singletonList(java.util.Collections.nCopies(classes, 0.0));
            Golden golden = golden(wanted, (String) each.get("source"), TestData.integer(each, "height"));
            try {
                new Verification(golden, "m.tflite", description, new FakeEngine(8));
                fail((String) each.get("said"));
            } catch (DemoException exc) {
                assertEquals(each.get("said"), exc.getMessage());
            }
        }
    }
}
