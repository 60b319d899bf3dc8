package org.ghostedge.core;

/** A wish to stop, from another thread; long work asks for it between samples and pictures. */
public final class Cancellation {
    private volatile String reason;

    /** Asks to stop; the first reason stays. */
    public void cancel(String why) {
        if (reason == null) {
            reason = why;
        }
    }

    public boolean cancelled() {
        return reason != null;
    }

    /** Throws: DemoException with the reason once there is one. */
    public void check() throws DemoException {
        if (reason != null) {
            throw new DemoException(reason);
        }
    }
}
