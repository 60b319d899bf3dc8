package org.ghostedge.core;

/** A picture, upright, whose pixels are looked up where the resize needs them: most of a camera frame is not read. */
public interface Pixels {
    int width();

    int height();

    /**
     * Looks up pixels of one row.
     *
     * @param y the row
     * @param columns which pixels, {@code count} of them
     * @param out gets {@code 0xBBGGRR} each, as R G B A lies in memory; the upper byte is not defined
     */
    void row(int y, int[] columns, int count, int[] out);
}
