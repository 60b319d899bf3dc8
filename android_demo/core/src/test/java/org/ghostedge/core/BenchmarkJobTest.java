package org.ghostedge.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.Test;

/** The extras of {@code adb shell am start}. */
public class BenchmarkJobTest {
    private static Extras extras(Object... pairs) {
        Map<String, Object> extras = new LinkedHashMap<>();
        for (int i = 0; i < pairs.length; i += 2) {
            extras.put((String) pairs[i], pairs[i + 1]);
        }
        return new Extras(extras);
    }

    @Test
    public void everyExtraIsTaken() throws Exception {
        BenchmarkJob job = BenchmarkJob.parse(extras("model", "a/b_fp16.tflite", "threads", 4, "xnnpack", false,
                "mode", "sustained", "minutes", 30, "golden", "/a/g.golden.npz", "out", "r.json"), 8, "litert");
        assertEquals("a/b_fp16.tflite", job.model);
        assertEquals(4, job.settings.threads);
        assertFalse(job.settings.xnnpack);
        assertFalse(job.quick);
        assertEquals(30, job.sustainedMinutes);
        assertEquals("/a/g.golden.npz", job.golden);
        assertFalse(job.verify);
        assertEquals("r.json", job.out);
    }

    @Test
    public void verifyingIsAModeOfItsOwn() throws Exception {
        BenchmarkJob job = BenchmarkJob.parse(extras("model", "m.tflite", "mode", "verify"), 8, "litert");
        assertTrue(job.verify);
        assertFalse(job.quick);
        assertNull(job.golden);
        assertEquals("m-litert-1t-verify.json", job.out);
    }

    @Test
    public void aModelAloneIsAValidRun() throws Exception {
        BenchmarkJob job = BenchmarkJob.parse(extras("model", "dir/m.tflite"), 8, "litert");
        assertEquals(1, job.settings.threads);
        assertTrue(job.settings.xnnpack);
        assertEquals(1024, job.minSamples());
        assertEquals(60, job.minSeconds(), 0);
        assertEquals(0, job.sustainedMinutes);
        assertEquals("m-litert-1t.json", job.out);
        assertEquals("m-litert-1t-noxnnpack.json",
                BenchmarkJob.parse(extras("model", "m.tflite", "xnnpack", false), 8, "litert").out);
        assertEquals("m-litert-gpu-verify.json", BenchmarkJob.parse(
                extras("model", "m.tflite", "accelerator", "gpu", "threads", 4, "mode", "verify"), 8, "litert").out);
        assertEquals("x.json", BenchmarkJob.parse(extras("model", "m", "out", "x"), 8, "litert").out);
    }

    @Test
    public void mistakesAreNamed() {
        refused("model", extras());
        refused("model", extras("model", 3));
        refused("threads", extras("model", "m", "threads", 0));
        refused("threads", extras("model", "m", "threads", 33));
        refused("threads", extras("model", "m", "threads", "4"));
        refused("xnnpack", extras("model", "m", "xnnpack", "true"));
        refused("accelerator 'npu' is not cpu or gpu", extras("model", "m", "accelerator", "npu"));
        refused("accelerator", extras("model", "m", "accelerator", true));
        refused("mode", extras("model", "m", "mode", "fast"));
        refused("golden", extras("model", "m", "golden", 1));
        refused("minutes", extras("model", "m", "minutes", 5));
        refused("minutes", extras("model", "m", "mode", "sustained", "minutes", 9999));
        refused("out", extras("model", "m", "out", "../../etc/x"));
        refused("out", extras("model", "m", "out", ".hidden"));
        refused("unknown extra 'thread'; there are model, threads, xnnpack, accelerator, mode, minutes, golden and out",
                extras("model", "m", "thread", 4));
    }

    private static void refused(String word, Extras extras) {
        try {
            BenchmarkJob.parse(extras, 8, "litert");
            fail(word);
        } catch (DemoException exc) {
            assertTrue(exc.getMessage(), exc.getMessage().contains(word));
        }
    }
}
