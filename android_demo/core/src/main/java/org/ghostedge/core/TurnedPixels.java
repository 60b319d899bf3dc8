package org.ghostedge.core;

/** A picture that is stored as the camera's sensor lies, and is looked at upright. */
abstract class TurnedPixels implements Pixels {
    int storedWidth;
    int storedHeight;
    /** Clockwise, what turns the stored picture upright. */
    int degrees;

    @Override
    public final int width() {
        return Rotation.swaps(degrees) ? storedHeight : storedWidth;
    }

    @Override
    public final int height() {
        return Rotation.swaps(degrees) ? storedWidth : storedHeight;
    }
}
