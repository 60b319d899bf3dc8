package org.ghostedge.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.Map;
import org.junit.Test;

/** The crop is ghostedge.data.preprocess's, bit for bit, whatever the picture's size and however it lies in memory. */
public class PreprocessorTest {
    @Test
    public void cropsAreThoseOfPython() throws Exception {
        List<Map<String, Object>> cases = TestData.golden("preprocess");
        assertTrue("many sizes", cases.size() > 200);
        for (Map<String, Object> each : cases) {
            int width = TestData.integer(each, "width");
            int height = TestData.integer(each, "height");
            InputSpec spec = TestData.spec(
                    TestData.integer(each, "resize"), TestData.integer(each, "rows"), TestData.integer(each, "columns"));
            byte[] rgb = TestData.picture(width, height);
            ByteBuffer rgba = ByteBuffer.allocateDirect(4 * width * height);
            for (int i = 0; i < width * height; i++) {
                rgba.put(rgb, 3 * i, 3).put((byte) i);
            }
            Pixels[] sources = {
                new RgbPixels(rgb, width, height), new RgbaPixels(rgba, width, height, 4 * width, 0, false)
            };
            for (Pixels source : sources) {
                byte[] crop = new Preprocessor(spec).crop(source);
                assertEquals(each.toString(), each.get("sha256"), ModelFile.sha256(ByteBuffer.wrap(crop)));
            }
        }
    }

    @Test
    public void onePreprocessorTakesPicturesOfChangingSizes() throws Exception {
        InputSpec spec = TestData.spec(36, 32, 32);
        Preprocessor kept = new Preprocessor(spec);
        for (int[] size : new int[][] {{100, 75}, {75, 100}, {100, 75}, {20, 30}, {1, 1}}) {
            RgbPixels source = new RgbPixels(TestData.picture(size[0], size[1]), size[0], size[1]);
            assertArrayEquals(new Preprocessor(spec).crop(source), kept.crop(source));
        }
    }

    @Test
    public void rgbaBitmapsTurnedAndMirroredAreTheUprightPicture() throws Exception {
        int width = 50;
        int height = 37;
        byte[] upright = TestData.picture(width, height);
        byte[] expected = new Preprocessor(TestData.spec(36, 32, 32)).crop(new RgbPixels(upright, width, height)).clone();
        for (int degrees : new int[] {0, 90, 180, 270}) {
            for (boolean mirrored : new boolean[] {false, true}) {
                boolean swapped = degrees % 180 != 0;
                int storedWidth = swapped ? height : width;
                int storedHeight = swapped ? width : height;
                int rowBytes = 4 * storedWidth + 12;
                ByteBuffer data = ByteBuffer.allocate(rowBytes * storedHeight);
                for (int y = 0; y < height; y++) {
                    for (int x = 0; x < width; x++) {
                        // Turn the upright picture counterclockwise to store it, so that clockwise brings it back.
                        int column = degrees == 0 ? x : degrees == 90 ? y : degrees == 180 ? width - 1 - x
                                : height - 1 - y;
                        int line = degrees == 0 ? y : degrees == 90 ? width - 1 - x
                                : degrees == 180 ? height - 1 - y : x;
                        column = mirrored ? storedWidth - 1 - column : column;
                        for (int channel = 0; channel < 3; channel++) {
                            data.put(line * rowBytes + 4 * column + channel, upright[3 * (y * width + x) + channel]);
                        }
                    }
                }
                RgbaPixels turned = new RgbaPixels(data, storedWidth, storedHeight, rowBytes, degrees, mirrored);
                byte[] crop = new Preprocessor(TestData.spec(36, 32, 32)).crop(turned);
                assertArrayEquals(degrees + " " + mirrored, expected, crop);
            }
        }
    }

    @Test
    public void cameraFramesAreJfifColours() {
        for (int step = 1; step <= 2; step++) {
            int width = 6;
            int height = 4;
            int lumaStride = 8;
            int chromaStride = step * 3 + 2;
            byte[] luma = TestData.picture(lumaStride, height);
            byte[] u = TestData.picture(chromaStride, 5);
            byte[] v = new byte[chromaStride * 5];
            for (int i = 0; i < v.length; i++) {
                v[i] = u[v.length - 1 - i];
            }
            YuvPixels frame = new YuvPixels();
            frame.set(ByteBuffer.wrap(luma), ByteBuffer.wrap(u), ByteBuffer.wrap(v), width, height, lumaStride,
                    chromaStride, step, 90);
            assertEquals(height, frame.width());
            assertEquals(width, frame.height());
            int[] columns = {0, 1, 2, 3};
            int[] out = new int[4];
            for (int y = 0; y < width; y++) {
                frame.row(y, columns, 4, out);
                for (int x = 0; x < height; x++) {
                    int column = y; // a quarter turn clockwise: the first stored column becomes the first row
                    int line = height - 1 - x;
                    double light = luma[line * lumaStride + column] & 0xff;
                    double blue = (u[(line / 2) * chromaStride + (column / 2) * step] & 0xff) - 128;
                    double red = (v[(line / 2) * chromaStride + (column / 2) * step] & 0xff) - 128;
                    near(light + 1.402 * red, out[x] & 0xff);
                    near(light - 0.344136 * blue - 0.714136 * red, out[x] >> 8 & 0xff);
                    near(light + 1.772 * blue, out[x] >> 16 & 0xff);
                }
            }
        }
    }

    private static void near(double exact, int value) {
        assertEquals(Math.max(0, Math.min(255, exact)), value, 0.51); // rounded, with 16 bits of the matrix
    }

    @Test
    public void theAntialiasedRuleIsRefused() throws Exception {
        InputSpec spec = InputSpec.fromJson(Json.parseObject("{\"resize_rule\":\"pillow_bilinear\"}"));
        try {
            new Preprocessor(spec);
            fail("a model of another resize rule must not run");
        } catch (DemoException exc) {
            assertTrue(exc.getMessage().contains("pillow_bilinear"));
        }
    }
}
