package org.ghostedge.core;

import java.util.Map;

/** What only the Android framework tells about the device. */
public interface Device {
    /** model, soc, architecture, cores, system, kernel, emulated: the keys of the record's device. */
    Map<String, Object> facts();

    /** {@code "mains"}, {@code "battery"} or null. */
    String powerSource();

    /** 0..100, or null. */
    Double batteryPercent();

    /** Of the battery, degrees Celsius, or null. */
    Double batteryTemperature();

    /** 0 none .. 6 shutdown (PowerManager.THERMAL_STATUS_*), or -1 where the system does not tell (before API 29). */
    int thermalStatus();

    /** Processor time of this process, seconds. */
    double ownSeconds();
}
