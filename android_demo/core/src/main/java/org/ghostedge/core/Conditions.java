package org.ghostedge.core;

import java.text.SimpleDateFormat;
import java.util.ArrayList;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TimeZone;
import java.util.TreeMap;

/** What the device is and what it is doing: the record's device, snapshots and glances. */
public final class Conditions {
    private static final String[] THERMAL = {
        "none", "light", "moderate", "severe", "critical", "emergency", "shutdown"
    };

    private final Device device;
    private final DeviceFiles files;

    public Conditions(Device device, DeviceFiles files) {
        this.device = device;
        this.files = files;
    }

    /** Now, ISO 8601, UTC, whole seconds. */
    static String utc() {
        SimpleDateFormat format = new SimpleDateFormat("yyyy-MM-dd'T'HH:mm:ss'+00:00'", Locale.ROOT);
        format.setTimeZone(TimeZone.getTimeZone("UTC"));
        return format.format(new Date());
    }

    /** What the device is: does not change during a run. */
    Map<String, Object> device() {
        Map<String, Object> facts = device.facts();
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("host", null); // a phone has no host name that is not its owner's
        out.put("model", facts.get("model"));
        out.put("soc", facts.get("soc"));
        out.put("cpu", files.cpu());
        out.put("architecture", facts.get("architecture"));
        out.put("cores", facts.get("cores"));
        out.put("max_frequency_mhz", files.maxFrequencies());
        out.put("memory_mib", files.totalMemoryMib());
        out.put("system", facts.get("system"));
        out.put("kernel", facts.get("kernel"));
        out.put("python", null);
        out.put("emulated", facts.get("emulated"));
        return out;
    }

    /** What the device computes a model's floating-point operators in: {@code "f16"} or {@code "f32"}. */
    String inferencePrecision(ModelFile model, EngineSettings settings) {
        return Float16.inferencePrecision(model.bytes, settings, files.cpuInfo());
    }

    /** What the device is doing before or after a run. */
    Map<String, Object> snapshot() {
        Map<String, Object> temperatures = files.temperatures();
        Double battery = device.batteryTemperature();
        if (battery != null) {
            temperatures = temperatures == null ? new TreeMap<String, Object>() : temperatures;
            temperatures.put("battery", battery);
        }
        Map<String, Object> power = new LinkedHashMap<>();
        power.put("source", device.powerSource());
        power.put("battery_percent", device.batteryPercent());
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("time_utc", utc());
        out.put("governor", files.governors());
        out.put("frequency_mhz", files.frequencies());
        out.put("temperature_c", files.cpuTemperature());
        out.put("temperatures_c", temperatures);
        out.put("throttle_flags", throttleFlags());
        out.put("load_average_1m", files.loadAverage());
        out.put("power", power);
        return out;
    }

    /** Android's thermal status in the place of the Raspberry Pi's flags: from "light" on the device is throttled. */
    private Map<String, Object> throttleFlags() {
        int status = device.thermalStatus();
        if (status < 0) {
            return null;
        }
        String name = status < THERMAL.length ? THERMAL[status] : "status " + status;
        List<Object> now = new ArrayList<>();
        if (status > 0) {
            now.add("thermal status " + name);
        }
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("value", name);
        out.put("now", now);
        out.put("since_boot", new ArrayList<Object>());
        return out;
    }

    /** What the device is doing during a run: only what a few small files tell, for this runs between samples. */
    Map<String, Object> glance(double seconds) {
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("t_s", Summary.rounded(seconds, 2));
        out.put("frequency_mhz", files.frequencies());
        out.put("temperature_c", files.cpuTemperature());
        out.put("load_average_1m", files.loadAverage());
        return out;
    }

    Double memoryMib(String which) {
        return files.memoryMib(which);
    }

    /** {@code {busy seconds of others, own seconds}}, or null: see {@link #otherCores}. */
    double[] work() {
        double own = device.ownSeconds();
        Double others = files.othersBusySeconds(own);
        return others == null ? null : new double[] {others, own};
    }

    /** Cores in use by others on average since {@code before}; null where the system does not tell, or untruly. */
    Double otherCores(double[] before, double seconds) {
        double[] now = before == null ? null : work();
        if (now == null || seconds <= 0) {
            return null;
        }
        double own = now[1] - before[1];
        double busy = now[0] - before[0] + own;
        return busy < own / 2 ? null : Double.valueOf(Summary.rounded(Math.max(0, busy - own) / seconds, 3));
    }
}
