package org.ghostedge.core;

/** What the user is told: one line that says what is wrong and what to do. */
public final class DemoException extends Exception {
    private static final long serialVersionUID = 1;

    public DemoException(String message) {
        super(message);
    }

    public DemoException(String message, Throwable cause) {
        super(message, cause);
    }
}
