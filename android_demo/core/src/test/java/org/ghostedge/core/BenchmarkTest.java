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
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.Before;
import org.junit.Test;

/**
 * Runs on a device whose clock, sensors and interpreter are made up, so that every reason of the record can be shown.
 *
 * <p>The records are left for Python, which holds them to the schema and to the verdict of edge_benchmark.py.
 */
public class BenchmarkTest {
    private final FakeDevice device = new FakeDevice();
    private File sys;
    private File proc;

    /** What the phone does as time goes by. */
    private static class FakeDevice extends FakeEngine.Factory implements Device, Timer.Clock {
        long now = 1;
        long clockNs = 50;
        double millis = 10;
        double slowdown = 1;
        double jitter;
        boolean emulated;
        boolean battery;
        int thermal;
        int thermalAfter = -1;
        int threads = 1;
        boolean gpu;
        boolean infinite;
        /** Answers from this inference on are those of another weight; likewise for one inference alone. */
        int wrongFrom = Integer.MAX_VALUE;
        int wrongOnce = -1;
        /** The pixels of the first inferences, one value each. */
        final List<Float> firstInputs = new ArrayList<>();
        Runnable later;
        FakeEngine engine;
        Cancellation cancellation = new Cancellation();
        double cancelAfterS = Double.POSITIVE_INFINITY;

        @Override
        public long nanoTime() {
            return now += clockNs;
        }

        @Override
        public Engine load(ModelFile model, EngineSettings settings) {
            now += 30_000_000;
            engine = new FakeEngine(8) {
                @Override
                public ByteBuffer run(ByteBuffer input) {
                    double seconds = now / 1e9;
                    double factor = seconds > 70 ? slowdown : 1;
                    factor *= 1 + jitter * ((int) (2 * seconds) * 0x9e3779b1 >>> 24) / 255; // another every half second
                    now += (long) (1e6 * millis * factor);
                    if (seconds > 55 && later != null) {
                        later.run();
                        later = null;
                    }
                    if (seconds > cancelAfterS) {
                        cancellation.cancel("stopped by the user");
                    }
                    if (firstInputs.size() < 3) {
                        firstInputs.add(input.getFloat(4 * 3));
                    }
                    ByteBuffer out = super.run(input);
                    if (runs >= wrongFrom || runs == wrongOnce) {
                        out.putFloat(4, out.getFloat(4) + 2);
                    }
                    return out;
                }
            };
            engine.infinite = infinite;
            return engine;
        }

        @Override
        public Map<String, Object> facts() {
            Map<String, Object> facts = new LinkedHashMap<>();
            facts.put("model", "Fake 9");
            facts.put("soc", null);
            facts.put("architecture", "aarch64");
            facts.put("cores", 2);
            facts.put("system", "Android 14 (API 34)");
            facts.put("kernel", "5.15");
            facts.put("emulated", emulated);
            return facts;
        }

        @Override
        public String powerSource() {
            return battery ? "battery" : "mains";
        }

        @Override
        public Double batteryPercent() {
            return 81.0;
        }

        @Override
        public Double batteryTemperature() {
            return 31.4;
        }

        @Override
        public int thermalStatus() {
            int status = thermal;
            thermal = thermalAfter >= 0 ? thermalAfter : thermal;
            return status;
        }

        @Override
        public double ownSeconds() {
            return now / 1e9;
        }
    }

    @Before
    public void makeSysfs() throws Exception {
        sys = Files.createTempDirectory("sys").toFile();
        proc = Files.createTempDirectory("proc").toFile();
        tree(sys, 2000000);
        put(proc, "loadavg", "0.31 0.20 0.10 1/234 5678\n");
        put(proc, "cpuinfo", "processor\t: 0\n\nHardware\t: Fake SoC\n");
        put(proc, "meminfo", "MemTotal:        7812500 kB\nMemFree: 1 kB\n");
        put(proc, "self/status", "Name:\tx\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n");
    }

    private static void tree(File sys, int khz) throws Exception {
        for (int cpu = 0; cpu < 2; cpu++) {
            String folder = "devices/system/cpu/cpu" + cpu + "/cpufreq/";
            put(sys, folder + "scaling_governor", "schedutil\n");
            put(sys, folder + "scaling_cur_freq", (cpu == 0 ? 300000 : khz) + "\n");
            put(sys, folder + "cpuinfo_max_freq", "2000000\n");
        }
        put(sys, "devices/system/cpu/cpufreq/boost", "1\n");
        put(sys, "class/thermal/thermal_zone0/type", "cpu-0-0\n");
        put(sys, "class/thermal/thermal_zone0/temp", "41500\n");
        put(sys, "class/thermal/thermal_zone1/type", "battery-skin\n");
        put(sys, "class/thermal/thermal_zone1/temp", "49000\n");
    }

    private static void put(File root, String name, String text) throws Exception {
        File file = new File(root, name);
        file.getParentFile().mkdirs();
        Files.write(file.toPath(), text.getBytes(StandardCharsets.UTF_8));
    }

    private Map<String, Object> run(String name, String mode, Integer minutes) throws Exception {
        return run(name, mode, minutes, null, null);
    }

    private Map<String, Object> run(String name, String mode, Integer minutes, Golden golden, String asked)
            throws Exception {
        Map<String, Object> extras = new LinkedHashMap<>();
        extras.put("model", "linear_described.tflite");
        extras.put("threads", device.threads);
        extras.put("mode", mode);
        extras.put("out", name);
        if (device.gpu) {
            extras.put("accelerator", "gpu");
        }
        if (minutes != null) {
            extras.put("minutes", minutes);
        }
        if (asked != null) {
            extras.put("golden", asked);
        }
        final List<String> said = new ArrayList<>();
        Progress progress = new Progress() {
            @Override
            public void progress(String text, int done, int total) {
                said.add(text);
                assertTrue(done <= total);
            }
        };
        Conditions conditions = new Conditions(device, new DeviceFiles(sys, proc));
        Benchmark benchmark = new Benchmark(device, conditions, device, "1.0", device.cancellation, progress);
        try {
            Map<String, Object> record = benchmark.run(BenchmarkJob.parse(new Extras(extras), 2, device.name()), TestData.linear(), golden);
            assertEquals(!mode.equals("verify"), said.contains("warming up"));
            assertEquals(record.get("verification") != null, said.contains("inferences, checking the answers"));
            WholeFile.write(new File(TestData.out(), "records/" + name + ".json"), Json.write(record));
            return record;
        } finally {
            assertTrue("the model is freed", device.engine.closed);
        }
    }

    private static String codes(Map<String, Object> record, String list) {
        StringBuilder codes = new StringBuilder();
        for (Object finding : (List<?>) record.get(list)) {
            codes.append(codes.length() == 0 ? "" : " ").append(((Map<?, ?>) finding).get("code"));
        }
        return codes.toString();
    }

    @Test
    public void aWholeRunIsValid() throws Exception {
        Map<String, Object> record = run("valid", "valid", null);
        assertEquals("", codes(record, "invalid_reasons"));
        assertEquals(true, record.get("valid"));
        assertEquals("full", record.get("mode"));
        assertEquals("governor", codes(record, "warnings"));
        assertTrue(((double[]) record.get("samples_ms")).length >= 1024);
        assertTrue((Double) record.get("duration_s") >= 60);
        assertNull(record.get("sustained"));
    }

    @Test
    public void aQuickRunSaysSo() throws Exception {
        device.battery = true;
        device.threads = 4;
        Map<String, Object> record = run("quick", "quick", null);
        assertEquals("quick", codes(record, "invalid_reasons"));
        assertEquals("battery governor too_many_threads", codes(record, "warnings"));
    }

    @Test
    public void everyReasonIsFound() throws Exception {
        device.slowdown = 1.3;
        device.emulated = true;
        device.jitter = 0.3;
        device.thermalAfter = 2;
        device.infinite = true;
        device.later = new Runnable() {
            @Override
            public void run() {
                try {
                    tree(sys, 1500000);
                } catch (Exception exc) {
                    throw new IllegalStateException(exc);
                }
            }
        };
        Map<String, Object> record = run("spoiled", "valid", null);
        assertEquals("emulated not_steady drift frequency_fell throttled", codes(record, "invalid_reasons"));
        assertEquals("not_finite below_max_frequency governor", codes(record, "warnings"));
    }

    @Test
    public void aShortFunctionIsMostlyTimer() throws Exception {
        device.millis = 2;
        device.clockNs = 50_000;
        assertEquals("overhead", codes(run("overhead", "valid", null), "invalid_reasons"));
    }

    @Test
    public void aHotPhoneIsNotValidFromTheStart() throws Exception {
        device.thermal = 1;
        assertEquals("throttled", codes(run("hot", "valid", null), "invalid_reasons"));
    }

    @Test
    public void otherProgramsAreSeenWhereAndroidTells() throws Exception {
        put(proc, "stat", "cpu  100 0 100 0 0 0 0 0 0 0\n");
        device.later = new Runnable() {
            @Override
            public void run() {
                try {
                    put(proc, "stat", "cpu  12000 0 100 0 0 0 0 0 0 0\n");
                } catch (Exception exc) {
                    throw new IllegalStateException(exc);
                }
            }
        };
        assertEquals("busy", codes(run("busy", "valid", null), "invalid_reasons"));
    }

    @Test
    public void aSustainedRunHasItsCurve() throws Exception {
        Map<String, Object> record = run("sustained", "sustained", 2);
        Map<?, ?> sustained = (Map<?, ?>) record.get("sustained");
        assertEquals(24, ((List<?>) sustained.get("curve")).size());
        assertEquals(1.0, (Double) sustained.get("last_to_first"), 0.01);
        assertEquals(true, record.get("valid"));
    }

    @Test
    public void aPhoneThatTellsNothingGivesNulls() throws Exception {
        sys = new File(sys, "absent");
        proc = new File(proc, "absent");
        device.thermal = -1;
        Map<String, Object> record = run("silent", "valid", null);
        assertEquals(true, record.get("valid"));
        Map<?, ?> before = (Map<?, ?>) ((Map<?, ?>) record.get("context")).get("before");
        assertNull(before.get("governor"));
        assertNull(before.get("temperature_c"));
        assertNull(before.get("throttle_flags"));
        assertNotNull(before.get("temperatures_c")); // the battery's, which the framework tells
    }

    private static Object at(Map<String, Object> record, String... path) {
        Object value = record;
        for (String name : path) {
            value = ((Map<?, ?>) value).get(name);
        }
        return value;
    }

    @Test
    public void rightAnswersAreInTheRecord() throws Exception {
        Golden golden = TestData.linearGolden();
        Map<String, Object> record = run("right", "valid", null, golden, null);
        assertEquals(true, record.get("valid"));
        assertEquals("governor", codes(record, "warnings"));
        assertEquals(true, at(record, "verification", "correct"));
        assertEquals(100, at(record, "verification", "repeats", "inferences"));
        assertEquals(true, at(record, "verification", "repeats", "after_timing_identical"));
        assertEquals("model", at(record, "verification", "bounds", "from"));
        assertEquals(golden.sha256, at(record, "verification", "golden", "sha256"));
        assertEquals(10.0, (Double) record.get("first_ms"), 0.1);
        // The very first inference is of the first golden picture, not of noise.
        InputEncoder encoder = new InputEncoder(TestData.spec(9, 8, 8), device.engine.input());
        encoder.encode(golden.crop(0));
        assertEquals(encoder.tensor().getFloat(4 * 3), device.firstInputs.get(0), 0);
        assertEquals(device.firstInputs.get(0), device.firstInputs.get(1));
    }

    @Test
    public void withoutGoldenPicturesNothingIsSaidOfTheAnswers() throws Exception {
        device.wrongFrom = 1;
        Map<String, Object> record = run("unchecked", "valid", null);
        assertTrue(record.containsKey("verification"));
        assertNull(record.get("verification"));
        assertEquals(true, record.get("valid"));
    }

    @Test
    public void aWrongWeightIsNotValid() throws Exception {
        device.wrongFrom = 1;
        Map<String, Object> record = run("wrong_weight", "valid", null, TestData.linearGolden(), null);
        assertEquals("wrong_answers", codes(record, "invalid_reasons"));
        assertEquals(false, record.get("valid"));
        assertEquals("governor", codes(record, "warnings"));
        Map<?, ?> reason = (Map<?, ?>) ((List<?>) record.get("invalid_reasons")).get(0);
        assertEquals(at(record, "verification", "reason"), reason.get("text"));
    }

    @Test
    public void anEngineThatIsRightOnlyTheFirstTimeIsNotValid() throws Exception {
        device.wrongFrom = 2;
        Map<String, Object> record = run("right_once", "valid", null, TestData.linearGolden(), null);
        assertEquals("wrong_answers", codes(record, "invalid_reasons"));
        assertEquals("not_repeatable governor", codes(record, "warnings"));
        assertEquals(2, at(record, "verification", "repeats", "first_different"));
    }

    @Test
    public void oneWrongAnswerInAHundredIsNotValid() throws Exception {
        device.wrongOnce = 60;
        Map<String, Object> record = run("wrong_once", "valid", null, TestData.linearGolden(), null);
        assertEquals("wrong_answers", codes(record, "invalid_reasons"));
        assertEquals("inference 60 of one picture gave another answer than the first",
                at(record, "verification", "reason"));
    }

    @Test
    public void answersThatAreOthersAfterTimingAreWrong() throws Exception {
        device.wrongFrom = 500;
        Map<String, Object> record = run("wrong_later", "valid", null, TestData.linearGolden(), null);
        assertEquals(true, at(record, "verification", "repeats", "identical"));
        assertEquals(false, at(record, "verification", "repeats", "after_timing_identical"));
        assertEquals("not_repeatable governor", codes(record, "warnings"));
        assertEquals("wrong_answers", codes(record, "invalid_reasons"));
    }

    @Test
    public void verifyingAloneTimesNothing() throws Exception {
        Map<String, Object> record = run("verified", "verify", null, TestData.linearGolden(), null);
        assertEquals("verification_record", record.get("kind"));
        assertEquals(true, at(record, "verification", "correct"));
        assertNull(at(record, "verification", "repeats", "after_timing_identical"));
        assertEquals(100 + 5, device.engine.runs);
        device.wrongFrom = 1;
        record = run("verified_wrong", "verify", null, TestData.linearGolden(), null);
        assertEquals(false, at(record, "verification", "correct"));
    }

    @Test
    public void aSlowPhoneRepeatsLess() throws Exception {
        device.millis = 9000;
        assertEquals(4, at(run("slow", "verify", null, TestData.linearGolden(), null),
                "verification", "repeats", "inferences"));
    }

    @Test
    public void goldenPicturesThatOnlyLieBesideTheModelMayBeAnothers() throws Exception {
        Golden other = new Golden("/m/other.golden.npz", "00", 8, 8, new byte[192], new float[4], new String[] {"a"},
                "another source");
        assertNull(run("beside", "quick", null, other, null).get("verification"));
        for (String[] each : new String[][] {{"quick", "/m/other.golden.npz"}, {"verify", null}}) {
            try {
                run("asked", each[0], null, other, each[1]);
                fail("the vectors of another model were asked for");
            } catch (DemoException exc) {
                assertTrue(exc.getMessage(), exc.getMessage().contains("give the golden file of its own export"));
            }
        }
    }

    @Test
    public void verifyingNeedsGoldenPictures() throws Exception {
        Map<String, Object> extras = new LinkedHashMap<>();
        extras.put("model", "m.tflite");
        extras.put("mode", "verify");
        try {
            new Benchmark(device, null, device, "1.0", device.cancellation, null)
                    .run(BenchmarkJob.parse(new Extras(extras), 2, device.name()), TestData.linear(), null);
            fail("there is nothing to verify with");
        } catch (DemoException exc) {
            assertTrue(exc.getMessage(), exc.getMessage().contains("--es golden PATH"));
        }
    }

    @Test
    public void theRecordSaysWhichLibraryAndWhatWasAskedOfIt() throws Exception {
        Map<String, Object> record = run("cpu", "quick", null);
        assertEquals("litert", at(record, "runtime", "name"));
        assertEquals("2.3.0", at(record, "runtime", "version"));
        assertEquals("cpu", at(record, "runtime", "accelerator"));
        assertEquals(true, at(record, "settings", "xnnpack"));
        device.gpu = true;
        record = run("gpu", "quick", null, TestData.linearGolden(), null);
        assertEquals("gpu", at(record, "runtime", "accelerator"));
        assertEquals("f16", at(record, "runtime", "inference_precision"));
        assertEquals(40.0, at(record, "verification", "bounds", "min_snr_db"));
        assertNull(at(record, "settings", "xnnpack"));
    }

    @Test
    public void aGpuIsTimedOnlyWithCheckedAnswers() throws Exception {
        device.gpu = true;
        Golden other = new Golden("/m/other.golden.npz", "00", 8, 8, new byte[192], new float[4], new String[] {"a"},
                "another source");
        refused(null, "the GPU needs golden pictures: push NAME.golden.npz");
        refused(other, "give the golden file of its own export");
        device.wrongFrom = 2;
        Map<String, Object> record = run("gpu_right_once", "quick", null, TestData.linearGolden(), null);
        assertEquals("wrong_answers quick", codes(record, "invalid_reasons"));
    }

    private void refused(Golden golden, String why) throws Exception {
        device.engine = new FakeEngine(8);
        device.engine.close();
        try {
            run("gpu_unchecked", "quick", null, golden, null);
            fail(why);
        } catch (DemoException exc) {
            assertTrue(exc.getMessage(), exc.getMessage().contains(why));
        }
    }

    @Test
    public void cancellingStopsBetweenSamplesAndFreesTheModel() throws Exception {
        device.cancelAfterS = 12;
        try {
            run("cancelled", "valid", null);
            fail("a cancelled run has no record");
        } catch (DemoException exc) {
            assertEquals("stopped by the user", exc.getMessage());
        }
        assertTrue(device.now < 13e9);
        assertFalse(new File(TestData.out(), "records/cancelled.json").exists());
    }

    @Test
    public void theKernelsFilesAreReadAsTheScriptReadsThem() throws Exception {
        File out = TestData.out();
        tree(new File(out, "sys"), 1900000);
        Map<String, Object> found = new LinkedHashMap<>();
        DeviceFiles files = new DeviceFiles(new File(out, "sys"), proc);
        found.put("governor", files.governors());
        found.put("frequency_mhz", files.frequencies());
        found.put("temperature_c", files.cpuTemperature());
        found.put("temperatures_c", files.temperatures());
        WholeFile.write(new File(out, "device_files.json"), Json.write(found));
        assertEquals(41.5, files.cpuTemperature(), 0);
        assertEquals("Fake SoC", files.cpu());
        assertEquals(100.0, files.memoryMib("VmRSS"), 0);
    }
}
