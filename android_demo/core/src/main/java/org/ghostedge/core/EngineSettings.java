package org.ghostedge.core;

/** How an engine shall run a model. */
public final class EngineSettings {
    public final int threads;
    /** Of the CPU. */
    public final boolean xnnpack;
    /** On the GPU; threads and XNNPACK do not matter then. */
    public final boolean gpu;

    public EngineSettings(int threads, boolean xnnpack, boolean gpu) {
        this.threads = threads;
        this.xnnpack = xnnpack;
        this.gpu = gpu;
    }

    /** As records, ledgers and the extra {@code accelerator} name it. */
    public String accelerator() {
        return gpu ? "gpu" : "cpu";
    }

    /** As records say it: null on the GPU, which has no such choice. */
    Boolean xnnpackOnCpu() {
        return gpu ? null : Boolean.valueOf(xnnpack);
    }

    /** Part of a file's name: {@code "4t"}, {@code "1t-noxnnpack"}, {@code "gpu"}. */
    String label() {
        return gpu ? "gpu" : threads + "t" + (xnnpack ? "" : "-noxnnpack");
    }
}
