package org.ghostedge.core;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** A decoded picture: four bytes a pixel, R G B A, as Android's ARGB_8888 bitmaps lie in memory. */
public final class RgbaPixels extends TurnedPixels {
    private final ByteBuffer data;
    private final int rowBytes;
    private final boolean mirrored;

    /**
     * @param data read by absolute index
     * @param rowBytes from one row to the next
     * @param degrees clockwise, what turns the stored picture upright
     * @param mirrored whether the stored picture is also mirrored left to right, before it is turned
     */
    public RgbaPixels(ByteBuffer data, int width, int height, int rowBytes, int degrees, boolean mirrored) {
        this.data = data.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        this.storedWidth = width;
        this.storedHeight = height;
        this.rowBytes = rowBytes;
        this.degrees = degrees;
        this.mirrored = mirrored;
    }

    @Override
    public void row(int y, int[] columns, int count, int[] out) {
        ByteBuffer pixels = data;
        if (degrees == 0 && !mirrored) {
            int start = y * rowBytes;
            for (int i = 0; i < count; i++) {
                out[i] = pixels.getInt(start + 4 * columns[i]);
            }
            return;
        }
        for (int i = 0; i < count; i++) {
            int x = columns[i];
            int column = Rotation.column(degrees, storedWidth, x, y);
            column = mirrored ? storedWidth - 1 - column : column;
            out[i] = pixels.getInt(Rotation.line(degrees, storedHeight, x, y) * rowBytes + 4 * column);
        }
    }
}
