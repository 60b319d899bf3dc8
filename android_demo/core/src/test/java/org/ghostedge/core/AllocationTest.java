package org.ghostedge.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import org.junit.Test;

/** The way of a camera frame allocates nothing once it runs: no pauses of the collector between frames. */
public class AllocationTest {
    private static final int FRAMES = 50;
    private static final int ROUNDS = 5;

    private static long allocated() {
        ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
        return threads.getThreadAllocatedBytes(Thread.currentThread().getId());
    }

    @Test
    public void aFrameAllocatesNothing() throws Exception {
        int width = 1280;
        int height = 720;
        ByteBuffer luma = ByteBuffer.allocateDirect(width * height);
        ByteBuffer chroma = ByteBuffer.allocateDirect(width * height / 2);
        luma.put(TestData.picture(width, height), 0, width * height);
        chroma.put(TestData.picture(width, height), 0, width * height / 2);
        InputSpec spec = TestData.spec(256, 224, 224);
        Classifier classifier = new Classifier(new FakeEngine(224), described(spec));
        YuvPixels frame = new YuvPixels();
        long[] before = new long[2];
        for (int i = 0; i < FRAMES; i++) { // the first frames size the buffers and load the classes
            classify(classifier, frame, luma, chroma, width, height);
        }
        // What a frame allocates, it allocates in every round; the virtual machine itself may do so in one of them.
        long bytes = Long.MAX_VALUE;
        for (int round = 0; round < ROUNDS && bytes != 0; round++) {
            before[0] = allocated();
            before[1] = allocated(); // what asking itself allocates
            for (int i = 0; i < FRAMES; i++) {
                classify(classifier, frame, luma, chroma, width, height);
            }
            bytes = Math.min(bytes, allocated() - before[1] - (before[1] - before[0]));
        }
        assertEquals("bytes for " + FRAMES + " frames", 0, bytes);
        assertTrue(classifier.prediction.topClass[0] >= 0);
    }

    private static void classify(Classifier classifier, YuvPixels frame, ByteBuffer luma, ByteBuffer chroma,
            int width, int height) throws DemoException {
        frame.set(luma, chroma, chroma, width, height, width, width, 2, 90);
        classifier.classify(frame);
    }

    private static Description described(InputSpec spec) throws DemoException {
        return Description.fromJson("{\"schema_version\":1,\"precision\":\"fp32\",\"labels\":[],\"input\":"
                + Json.write(spec.toJson()) + "}");
    }
}
