package org.ghostedge.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;
import org.junit.Test;

/** A real artifact's description is read from the file alone; damaged and foreign files get one readable line. */
public class DescriptionTest {
    private static final int[] SHAPE = {1, 8, 8, 3};

    @Test
    public void anArtifactOfGhostedgeDescribesItself() throws Exception {
        ModelFile model = TestData.linear();
        Description description = Description.of(model.name, model.bytes, SHAPE);
        List<String> labels = TestData.golden("labels");
        assertTrue(description.known);
        assertEquals(labels, description.labels);
        assertEquals("fp32", description.precision);
        assertEquals(9, description.input.resize);
        assertTrue(description.input.normalised);
        assertFalse(description.input.nchw);
        assertEquals("class 7", description.label(7));
        String text = Json.write(description.input.toJson());
        assertEquals(text, Json.write(InputSpec.fromJson(Json.parseObject(text)).toJson()));
    }

    @Test
    public void aModelWithoutDescriptionGetsTheUsualInput() throws Exception {
        byte[] whole = TestData.resource("linear_described.tflite");
        int archive = indexOf(whole, new byte[] {'P', 'K', 3, 4});
        ByteBuffer bare = ByteBuffer.wrap(Arrays.copyOf(whole, archive));
        Description description = Description.of("bare.tflite", bare, new int[] {1, 224, 224, 3});
        assertFalse(description.known);
        assertEquals(256, description.input.resize);
        assertTrue(description.labels.isEmpty());
        try {
            Description.of("bare.tflite", bare, new int[] {1, 7});
            fail("not a picture");
        } catch (DemoException exc) {
            assertTrue(exc.getMessage().contains("picture"));
        }
    }

    @Test
    public void weightsThatLookLikeAnArchiveAreNone() throws Exception {
        byte[] whole = TestData.resource("linear_described.tflite");
        int archive = indexOf(whole, new byte[] {'P', 'K', 3, 4});
        byte[] bare = Arrays.copyOf(whole, archive + 100);
        Arrays.fill(bare, archive, bare.length, (byte) 9);
        System.arraycopy(new byte[] {'P', 'K', 5, 6}, 0, bare, archive + 20, 4);
        assertFalse(Description.of("bare.tflite", ByteBuffer.wrap(bare), new int[] {1, 224, 224, 3}).known);
    }

    @Test
    public void everyCutAndEveryDamagedByteIsOneLineOrHarmless() throws Exception {
        byte[] whole = TestData.resource("linear_described.tflite");
        int archive = indexOf(whole, new byte[] {'P', 'K', 3, 4});
        for (int length = 0; length < whole.length; length += 7) {
            open(Arrays.copyOf(whole, length));
        }
        for (int at = archive; at < whole.length; at++) {
            for (int bit = 0; bit < 8; bit += 3) {
                byte[] damaged = whole.clone();
                damaged[at] ^= (byte) (1 << bit);
                open(damaged);
            }
        }
    }

    private static void open(byte[] data) {
        try {
            ModelFile model = new ModelFile("damaged.tflite", null, ByteBuffer.wrap(data));
            Description.of(model.name, model.bytes, SHAPE);
        } catch (DemoException exc) {
            assertFalse(exc.getMessage().contains("\n"));
            assertTrue(exc.getMessage(), exc.getMessage().length() > 20);
        }
    }

    @Test
    public void whatIsNoModelIsNamed() {
        refused(new byte[0], "empty");
        refused("<html>404 not found</html>".getBytes(), "not a TFLite model");
        refused("version https://git-lfs.github.com/spec/v1".getBytes(), "not a TFLite model");
        try {
            Description.checkSize("huge.tflite", 3L << 30);
            fail("too large");
        } catch (DemoException exc) {
            assertTrue(exc.getMessage().contains("3072 MiB"));
        }
    }

    private static void refused(byte[] data, String why) {
        try {
            new ModelFile("x.tflite", null, ByteBuffer.wrap(data));
            fail(why);
        } catch (DemoException exc) {
            assertTrue(exc.getMessage(), exc.getMessage().contains(why));
        }
    }

    @Test
    public void impossibleInputsAreRefusedByName() {
        String[][] wrong = {
            {"{\"layout\":\"HWC\"}", "layout"}, {"{\"height\":0}", "cannot cut"}, {"{\"resize\":100}", "cannot cut"},
            {"{\"height\":99999999}", "height"}, {"{\"std\":[0,1,1]}", "std"}, {"{\"mean\":[1,2]}", "mean"},
            {"{\"dtype\":\"uint8\"}", "range raw"}, {"{\"gamma\":2}", "gamma"}, {"{\"width\":2.5}", "width"},
        };
        for (String[] each : wrong) {
            try {
                InputSpec.fromJson(Json.parseObject(each[0]));
                fail(each[0]);
            } catch (DemoException exc) {
                assertTrue(exc.getMessage(), exc.getMessage().contains(each[1]));
            }
        }
    }

    private static int indexOf(byte[] data, byte[] mark) {
        for (int at = 0; at < data.length - mark.length; at++) {
            if (Arrays.equals(Arrays.copyOfRange(data, at, at + mark.length), mark)) {
                return at;
            }
        }
        throw new AssertionError("the mark is not there");
    }
}
