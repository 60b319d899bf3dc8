package org.ghostedge.core;

import java.nio.ByteBuffer;

/** A decoded picture: four bytes a pixel, R G B A, as Android's ARGB_8888 bitmaps lie in memory. */
public final class RgbaPixels implements Pixels {
    private final ByteBuffer data;
    private final int storedWidth;
    private final int storedHeight;
    private final int rowBytes;
    private final int degrees;
    private final boolean mirrored;

    /**
     * @param data read by absolute index
     * @param rowBytes from one row to the next
     * @param degrees clockwise, what turns the stored picture upright
     * @param mirrored whether the stored picture is also mirrored left to right, before it is turned
     */
    public RgbaPixels(ByteBuffer data, int width, int height, int rowBytes, int degrees, boolean mirrored) {
        this.data = data;
        this.storedWidth = width;
        this.storedHeight = height;
        this.rowBytes = rowBytes;
        this.degrees = degrees;
        this.mirrored = mirrored;
    }

    @Override
    public int width() {
        return Rotation.swaps(degrees) ? storedHeight : storedWidth;
    }

    @Override
    public int height() {
        return Rotation.swaps(degrees) ? storedWidth : storedHeight;
    }

    @Override
    public void row(int y, int[] columns, int count, int[] out) {
        for (int i = 0; i < count; i++) {
            int x = columns[i];
            int column = Rotation.column(degrees, storedWidth, x, y);
            column = mirrored ? storedWidth - 1 - column : column;
            int at = Rotation.line(degrees, storedHeight, x, y) * rowBytes + 4 * column;
            out[i] = (data.get(at) & 0xff) << 16 | (data.get(at + 1) & 0xff) << 8 | (data.get(at + 2) & 0xff);
        }
    }
}
