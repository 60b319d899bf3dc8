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
    private static class FakeDevice implements Device, Timer.Clock, EngineFactory {
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
        boolean infinite;
        Runnable later;
        FakeEngine engine;
        Cancellation cancellation = new Cancellation();
        double cancelAfterS = Double.POSITIVE_INFINITY;

        @Override
        public long nanoTime() {
            return now += clockNs;
        }

        @Override
        public Engine load(ModelFile model, int threads, boolean xnnpack) {
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
                    return super.run(input);
                }
            };
            engine.infinite = infinite;
            return engine;
        }

        @Override
        public String version() {
            return "2.16.1";
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
        Map<String, Object> extras = new LinkedHashMap<>();
        extras.put("model", "linear_described.tflite");
        extras.put("threads", device.threads);
        extras.put("mode", mode);
        extras.put("out", name);
        if (minutes != null) {
            extras.put("minutes", minutes);
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
            Map<String, Object> record = benchmark.run(BenchmarkJob.parse(extras, 2), TestData.linear());
            assertTrue(said.contains("warming up"));
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
