package org.ghostedge.core;

/** Who is told, on the working thread, how far long work is. */
public interface Progress {
    /**
     * @param text one line
     * @param done of {@code total}; both 0 where it is not known how long it takes
     */
    void progress(String text, int done, int total);
}
