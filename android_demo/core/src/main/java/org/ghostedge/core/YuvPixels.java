package org.ghostedge.core;

import java.nio.ByteBuffer;

/**
 * A camera frame: YUV 4:2:0 in three planes of any strides, full range BT.601 (what Camera2's YUV_420_888 holds).
 *
 * <p>{@link #set} copies the planes, so that the camera gets its buffer back at once and its next frame can come; the
 * copies are kept from frame to frame.
 */
public final class YuvPixels extends TurnedPixels {
    private byte[] luma = new byte[0];
    private byte[] blue = new byte[0];
    private byte[] red = new byte[0];
    private int lumaStride;
    private int chromaStride;
    private int chromaStep;

    /**
     * Takes a frame.
     *
     * @param chromaStep bytes from one chroma value to the next: 1 planar, 2 interleaved
     * @param degrees clockwise, what turns the frame upright
     */
    public void set(ByteBuffer y, ByteBuffer u, ByteBuffer v, int width, int height, int lumaStride,
            int chromaStride, int chromaStep, int degrees) {
        luma = copy(y, luma);
        blue = copy(u, blue);
        red = copy(v, red);
        storedWidth = width;
        storedHeight = height;
        this.lumaStride = lumaStride;
        this.chromaStride = chromaStride;
        this.chromaStep = chromaStep;
        this.degrees = degrees;
    }

    private static byte[] copy(ByteBuffer from, byte[] to) {
        from.rewind();
        byte[] out = to.length < from.remaining() ? new byte[from.remaining()] : to;
        from.get(out, 0, from.remaining());
        return out;
    }

    @Override
    public void row(int y, int[] columns, int count, int[] out) {
        // Along a row of the upright picture one stored coordinate stays, and the other one, place, is origin + sign * x.
        boolean across = !Rotation.swaps(degrees);
        int column = Rotation.column(degrees, storedWidth, 0, y);
        int line = Rotation.line(degrees, storedHeight, 0, y);
        int origin = across ? column : line;
        int sign = (across ? Rotation.column(degrees, storedWidth, 1, y) : Rotation.line(degrees, storedHeight, 1, y))
                - origin;
        int lumaStart = across ? line * lumaStride : column;
        int lumaStep = across ? 1 : lumaStride;
        int chromaStart = across ? (line >> 1) * chromaStride : (column >> 1) * chromaStep;
        int chromaSteps = across ? chromaStep : chromaStride;
        byte[] lights = luma;
        byte[] blues = blue;
        byte[] reds = red;
        for (int i = 0; i < count; i++) {
            int place = origin + sign * columns[i];
            int light = lights[lumaStart + place * lumaStep] & 0xff;
            int at = chromaStart + (place >> 1) * chromaSteps;
            int u = (blues[at] & 0xff) - 128;
            int v = (reds[at] & 0xff) - 128;
            // JFIF's matrix (ITU-T T.871) in 1/65536: 1.402, -0.344136, -0.714136, 1.772.
            int r = light + (91881 * v + 32768 >> 16);
            int g = light + (-22554 * u - 46802 * v + 32768 >> 16);
            int b = light + (116130 * u + 32768 >> 16);
            out[i] = clip(r) | clip(g) << 8 | clip(b) << 16;
        }
    }

    private static int clip(int value) {
        return value < 0 ? 0 : value > 255 ? 255 : value;
    }
}
