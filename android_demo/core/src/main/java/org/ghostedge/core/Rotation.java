package org.ghostedge.core;

/** Where a pixel of the upright picture lies in the stored one. */
final class Rotation {
    private Rotation() {}

    /** Whether {@code degrees} (clockwise, what turns the stored picture upright) swaps width and height. */
    static boolean swaps(int degrees) {
        if (degrees % 90 != 0) {
            throw new IllegalArgumentException("rotation by " + degrees + " degrees");
        }
        return degrees % 180 != 0;
    }

    /** Stored column of upright pixel (x, y) in a stored picture of {@code width}. */
    static int column(int degrees, int width, int x, int y) {
        switch (((degrees % 360) + 360) % 360) {
            case 90:
                return y;
            case 180:
                return width - 1 - x;
            case 270:
                return width - 1 - y;
            default:
                return x;
        }
    }

    /** Stored row of upright pixel (x, y) in a stored picture of {@code height}. */
    static int line(int degrees, int height, int x, int y) {
        switch (((degrees % 360) + 360) % 360) {
            case 90:
                return height - 1 - x;
            case 180:
                return height - 1 - y;
            case 270:
                return x;
            default:
                return y;
        }
    }
}
