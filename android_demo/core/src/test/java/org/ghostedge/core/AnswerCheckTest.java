package org.ghostedge.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.io.File;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import org.junit.Before;
import org.junit.Test;

/** The check before a first answer: what it finds, how long it takes, and when it is asked again. */
public class AnswerCheckTest {
    private static final EngineSettings CPU = new EngineSettings(4, true, false);

    private File file;
    private Cancellation cancellation = new Cancellation();
    private String progress = "";

    /** Wrong from an inference on, in some milliseconds of its own clock. */
    private static class Flawed extends FakeEngine implements Timer.Clock {
        private final int wrongFrom;
        private final long millis;
        private long now;

        Flawed(int wrongFrom, long millis) {
            super(8);
            this.wrongFrom = wrongFrom;
            this.millis = millis;
        }

        @Override
        public ByteBuffer run(ByteBuffer input) {
            ByteBuffer out = super.run(input);
            now += millis * 1_000_000;
            if (runs >= wrongFrom) {
                out.putFloat(0, 9);
            }
            return out;
        }

        @Override
        public long nanoTime() {
            return now;
        }
    }

    @Before
    public void makeFolder() throws Exception {
        file = new File(Files.createTempDirectory("checks").toFile(), "checks.json");
    }

    private AnswerCheck check(EngineSettings settings, String system) throws Exception {
        return new AnswerCheck(file, TestData.linear(), new FakeEngine.Factory(), settings, system);
    }

    private AnswerCheck check() throws Exception {
        return check(CPU, "build 1");
    }

    private Verdict run(AnswerCheck check, Golden golden, Flawed engine) throws Exception {
        ModelFile linear = TestData.linear();
        Description description = Description.of(linear.name, linear.bytes, new int[] {1, 8, 8, 3});
        return check.run(golden, linear, description, engine, Bounds.of(description, "f32"), engine, cancellation,
                new Progress() {
                    @Override
                    public void progress(String text, int done, int total) {
                        assertTrue(done < total);
                        progress = text + " " + done + " of " + total;
                    }
                });
    }

    private Verdict run(Flawed engine) throws Exception {
        return run(check(), TestData.linearGolden(), engine);
    }

    @Test
    public void rightAnswersAreFoundOnceAndRemembered() throws Exception {
        assertNull(check().known());
        Flawed engine = new Flawed(Integer.MAX_VALUE, 10);
        Verdict found = run(engine);
        assertNull(found.reason);
        assertEquals(100 + 5, engine.runs);
        assertEquals("inferences, checking the answers 105 of 106", progress);
        for (Verdict each : new Verdict[] {found, check().known()}) {
            assertEquals(6, each.right);
            assertEquals(6, each.images);
            assertTrue(each.nearness, each.nearness.endsWith(" dB") || each.nearness.equals("identical"));
            assertNull(each.reason);
        }
    }

    @Test
    public void anEngineThatIsRightOnlyTheFirstTimeIsFoundAndStaysFound() throws Exception {
        Verdict found = run(new Flawed(2, 10));
        assertTrue(found.reason, found.reason.contains("dB from MindSpore's, the bound is 60 dB"));
        assertEquals(found.reason, check().known().reason);
        // With one picture alone, that is seen at its repeats.
        Golden golden = TestData.linearGolden();
        Golden one = new Golden("x.golden.npz", "00", 8, 8, golden.crop(0), golden.logits(0), new String[] {"photo"},
                golden.sourceSha256);
        for (int wrongFrom : new int[] {2, 60, 100}) {
            assertNotNull(run(check(), one, new Flawed(wrongFrom, 10)).reason);
        }
        assertNull(run(check(), one, new Flawed(101, 10)).reason);
    }

    @Test
    public void aWrongClassIsFound() throws Exception {
        Verdict found = run(new Flawed(1, 10));
        assertNotNull(found.reason);
        assertTrue(found.right < found.images);
        check().forget();
        assertNull(check().known());
        assertNull(run(new Flawed(Integer.MAX_VALUE, 10)).reason);
        assertNull(check().known().reason);
    }

    @Test
    public void anotherSettingLibraryModelOrSystemIsAskedAgain() throws Exception {
        run(new Flawed(Integer.MAX_VALUE, 10));
        assertNotNull(check().known());
        assertNull(check(new EngineSettings(2, true, false), "build 1").known());
        assertNull(check(new EngineSettings(4, false, false), "build 1").known());
        assertNull(check(new EngineSettings(4, true, true), "build 1").known());
        assertNull(check(CPU, "build 2").known());
        EngineFactory newer = new FakeEngine.Factory() {
            @Override
            public String version() {
                return "2.4.0";
            }
        };
        assertNull(new AnswerCheck(file, TestData.linear(), newer, CPU, "build 1").known());
        byte[] other = TestData.resource("linear_described.tflite");
        other[other.length - 1] ^= 1;
        ModelFile model = new ModelFile("linear_described.tflite", null, ByteBuffer.wrap(other));
        assertNull(new AnswerCheck(file, model, new FakeEngine.Factory(), CPU, "build 1").known());
    }

    @Test
    public void whatIsCutOffIsNotRemembered() throws Exception {
        final Flawed engine = new Flawed(Integer.MAX_VALUE, 10) {
            @Override
            public ByteBuffer run(ByteBuffer input) {
                if (runs == 40) {
                    cancellation.cancel("skipped");
                }
                return super.run(input);
            }
        };
        try {
            run(engine);
            fail("it was cancelled");
        } catch (DemoException exc) {
            assertEquals("skipped", exc.getMessage());
        }
        assertEquals(41, engine.runs);
        assertNull(check().known());
        assertFalse(file.exists());
    }

    @Test
    public void aSlowPhoneIsAskedLess() throws Exception {
        byte[] crops = new byte[40 * 3 * 8 * 8];
        float[] logits = new float[40 * 4];
        String[] names = new String[40];
        for (int i = 0; i < names.length; i++) {
            names[i] = "photo" + i;
            System.arraycopy(new float[] {0.1f, -0.2f, 0.3f, 0}, 0, logits, 4 * i, 4);
        }
        Golden golden = new Golden("x.golden.npz", "00", 8, 8, crops, logits, names,
                TestData.linearGolden().sourceSha256);
        long[][] expected = {{10, 100 + 31, 32}, {100, 31 + 31, 32}, {400, 9 + 17, 18}, {4000, 3 + 7, 8}};
        for (long[] each : expected) {
            Flawed engine = new Flawed(Integer.MAX_VALUE, each[0]);
            assertEquals(each[2], run(check(), golden, engine).images);
            assertEquals(each[1], engine.runs);
        }
    }

    @Test
    public void damagedMemoryIsNone() throws Exception {
        for (String text : new String[] {"", "{", "[]", "{\"a\": 1}", "\u0000\u00ff"}) {
            Files.write(file.toPath(), text.getBytes(StandardCharsets.UTF_8));
            assertNull(check().known());
        }
        run(new Flawed(Integer.MAX_VALUE, 10));
        String whole = new String(Files.readAllBytes(file.toPath()), StandardCharsets.UTF_8);
        for (String[] each : new String[][] {{"6", "\"6\""}, {"\"right\"", "\"wrong\""}, {"null", "true"}}) {
            Files.write(file.toPath(), whole.replace(each[0], each[1]).getBytes(StandardCharsets.UTF_8));
            assertNull(each[0], check().known());
        }
    }

    @Test
    public void memoryIsBounded() throws Exception {
        run(check(CPU, "eldest"), TestData.linearGolden(), new Flawed(Integer.MAX_VALUE, 10));
        for (int i = 0; i < 64; i++) {
            run(check(CPU, "build " + i), TestData.linearGolden(), new Flawed(Integer.MAX_VALUE, 10));
        }
        assertNull(check(CPU, "eldest").known());
        assertNotNull(check(CPU, "build 0").known());
    }

    @Test
    public void goldenPicturesOfAnotherModelAreRefused() throws Exception {
        Golden other = new Golden("/m/other.golden.npz", "00", 8, 8, new byte[192], new float[4], new String[] {"a"},
                "another source");
        try {
            run(check(), other, new Flawed(Integer.MAX_VALUE, 10));
            fail("they are another model's");
        } catch (DemoException exc) {
            assertTrue(exc.getMessage(), exc.getMessage().contains("give the golden file of its own export"));
        }
        assertNull(check().known());
    }
}
