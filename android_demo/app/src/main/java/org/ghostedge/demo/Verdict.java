package org.ghostedge.demo;

/** What was found about a model's answers on this phone. */
final class Verdict {
    /** One line; empty where there is nothing to say. */
    final String text;

    final boolean wrong;
    /** Whether the user goes on with wrong answers. */
    volatile boolean accepted;

    Verdict(String text, boolean wrong) {
        this.text = text;
        this.wrong = wrong;
    }
}
