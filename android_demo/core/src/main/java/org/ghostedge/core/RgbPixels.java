package org.ghostedge.core;

/** A picture as numpy holds it: three bytes a pixel, R G B, rows without gaps. */
public final class RgbPixels implements Pixels {
    private final byte[] data;
    private final int width;
    private final int height;

    public RgbPixels(byte[] data, int width, int height) {
        this.data = data;
        this.width = width;
        this.height = height;
    }

    @Override
    public int width() {
        return width;
    }

    @Override
    public int height() {
        return height;
    }

    @Override
    public void row(int y, int[] columns, int count, int[] out) {
        int start = 3 * y * width;
        byte[] source = data;
        for (int i = 0; i < count; i++) {
            int at = start + 3 * columns[i];
            out[i] = (source[at] & 0xff) | (source[at + 1] & 0xff) << 8 | (source[at + 2] & 0xff) << 16;
        }
    }
}
