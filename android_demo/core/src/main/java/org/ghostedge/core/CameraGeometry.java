package org.ghostedge.core;

/** Which frames to ask a camera for, and how they are turned. */
public final class CameraGeometry {
    private static final int WIDTH = 1280;
    private static final int HEIGHT = 720;

    private CameraGeometry() {}

    /**
     * Clockwise degrees that turn a frame upright.
     *
     * @param sensor how the sensor is built in, degrees clockwise from the device's natural side
     * @param display how the display's contents are turned, degrees (Surface.ROTATION_90 is 90)
     * @param front whether the camera looks at the user: then the two turn the same way
     */
    public static int uprightDegrees(int sensor, int display, boolean front) {
        return ((front ? sensor + display : sensor - display) % 360 + 360) % 360;
    }

    /**
     * The frame size to use: 1280 x 720, else the largest below it, else the smallest.
     *
     * @return an index, -1 where there is none to choose from
     */
    public static int frameSize(int[] widths, int[] heights) {
        int best = -1;
        for (int i = 0; i < widths.length; i++) {
            if (best < 0 || better(widths[i], heights[i], widths[best], heights[best])) {
                best = i;
            }
        }
        return best;
    }

    private static boolean better(int width, int height, int otherWidth, int otherHeight) {
        boolean fits = width <= WIDTH && height <= HEIGHT;
        boolean otherFits = otherWidth <= WIDTH && otherHeight <= HEIGHT;
        long area = (long) width * height;
        long otherArea = (long) otherWidth * otherHeight;
        return fits != otherFits ? fits : fits ? area > otherArea : area < otherArea;
    }
}
