package org.ghostedge.core;

import static org.junit.Assert.assertEquals;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import org.junit.Test;

public class Float16Test {
    private static final String A76 = "processor\t: 0\nFeatures\t: fp asimd atomics fphp asimdhp asimddp\n";
    private static final String A72 = "processor\t: 0\nFeatures\t: fp asimd evtstrm aes\n";

    private static String precision(String model, boolean xnnpack, String cpuinfo) {
        byte[] bytes = model.getBytes(StandardCharsets.US_ASCII);
        return Float16.inferencePrecision(ByteBuffer.wrap(bytes), new EngineSettings(1, xnnpack, false), cpuinfo);
    }

    @Test
    public void gpusComputeSo() {
        ByteBuffer model = ByteBuffer.wrap("TFL3".getBytes(StandardCharsets.US_ASCII));
        assertEquals("f16", Float16.inferencePrecision(model, new EngineSettings(1, true, true), null));
    }

    @Test
    public void modelAndProcessorMustBothAllowIt() {
        String allows = "TFL3..fp16accfp16..reduced_precision_support..";
        assertEquals("f16", precision(allows, true, A76));
        assertEquals("f32", precision(allows, true, A72));
        assertEquals("f32", precision(allows, true, null));
        assertEquals("f32", precision(allows, false, A76));
        assertEquals("f32", precision("TFL3..min_runtime_version..", true, A76));
        assertEquals("f32", precision("TFL3..fp16accfp32..reduced_precision_support..", true, A76));
        assertEquals("f32", precision(allows, true, "Features : fphp\nmodel name : asimdhp\n"));
    }
}
