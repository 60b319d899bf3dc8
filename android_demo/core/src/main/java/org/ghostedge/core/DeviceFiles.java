package org.ghostedge.core;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * What the kernel's files tell about a device; null where Android hides one, which it does with more at every version.
 *
 * <p>The same files by the same rules as benchmarks/edge_benchmark.py reads them.
 */
public final class DeviceFiles {
    private final File sys;
    private final File proc;

    /** @param sys {@code /sys}, @param proc {@code /proc}; folders of a test in tests. */
    public DeviceFiles(File sys, File proc) {
        this.sys = sys;
        this.proc = proc;
    }

    /** A small file's text without the end of line; null where it cannot be read. */
    static String text(File file) {
        byte[] buffer = new byte[16384];
        int count = 0;
        try (FileInputStream stream = new FileInputStream(file)) {
            int read;
            while (count < buffer.length && (read = stream.read(buffer, count, buffer.length - count)) > 0) {
                count += read;
            }
        } catch (IOException exc) {
            return null;
        }
        return new String(buffer, 0, count, StandardCharsets.UTF_8).replace('\0', '\n').trim();
    }

    private static Double number(File file) {
        String text = text(file);
        try {
            return text == null ? null : Double.valueOf(text);
        } catch (NumberFormatException exc) {
            return null;
        }
    }

    private List<File> cpus() {
        List<File> found = new ArrayList<>();
        File[] files = new File(sys, "devices/system/cpu").listFiles();
        for (File file : files == null ? new File[0] : files) {
            if (file.getName().matches("cpu[0-9]+")) {
                found.add(file);
            }
        }
        found.sort(new Comparator<File>() {
            @Override
            public int compare(File a, File b) {
                return Integer.compare(
                        Integer.parseInt(a.getName().substring(3)), Integer.parseInt(b.getName().substring(3)));
            }
        });
        return found;
    }

    private List<Object> perCpu(String name, boolean megahertz) {
        List<Object> values = new ArrayList<>();
        boolean any = false;
        for (File cpu : cpus()) {
            File file = new File(cpu, "cpufreq/" + name);
            Double number = megahertz ? number(file) : null;
            Object value = megahertz ? (number == null ? null : (Object) (number / 1000)) : text(file);
            values.add(value);
            any |= value != null;
        }
        return any ? values : null;
    }

    /** One governor a CPU, or null. */
    public List<Object> governors() {
        return perCpu("scaling_governor", false);
    }

    /** One frequency a CPU, MHz, or null. */
    public List<Object> frequencies() {
        return perCpu("scaling_cur_freq", true);
    }

    /** One highest frequency a CPU, MHz, or null. */
    public List<Object> maxFrequencies() {
        return perCpu("cpuinfo_max_freq", true);
    }

    /** Thermal zone -> degrees Celsius, or null. */
    public Map<String, Object> temperatures() {
        Map<String, Object> found = new TreeMap<>();
        File[] files = new File(sys, "class/thermal").listFiles();
        if (files != null) {
            Arrays.sort(files);
        }
        for (File folder : files == null ? new File[0] : files) {
            Double value = folder.getName().startsWith("thermal_zone") ? number(new File(folder, "temp")) : null;
            if (value != null) {
                String type = text(new File(folder, "type"));
                found.put(type == null || type.isEmpty() ? folder.getName() : type, value / 1000);
            }
        }
        return found.isEmpty() ? null : found;
    }

    /** Of the processor, degrees Celsius: the hottest zone that is named like one, else the hottest; or null. */
    public Double cpuTemperature() {
        Map<String, Object> zones = temperatures();
        Double named = null;
        Double any = null;
        if (zones != null) {
            for (Map.Entry<String, Object> zone : zones.entrySet()) {
                Double value = (Double) zone.getValue();
                any = any == null ? value : Double.valueOf(Math.max(any, value));
                if (zone.getKey().toLowerCase(java.util.Locale.ROOT).matches("(?s).*(cpu|soc|pkg|core).*")) {
                    named = named == null ? value : Double.valueOf(Math.max(named, value));
                }
            }
        }
        return named != null ? named : any;
    }

    /** Of the last minute, or null. */
    public Double loadAverage() {
        String text = text(new File(proc, "loadavg"));
        try {
            return text == null ? null : Double.valueOf(text.split(" ")[0]);
        } catch (NumberFormatException exc) {
            return null;
        }
    }

    /** Resident memory of this process: {@code VmRSS} now or {@code VmHWM} at its peak, MiB; or null. */
    public Double memoryMib(String which) {
        Double kib = field(text(new File(proc, "self/status")), which + ":");
        return kib == null ? null : Double.valueOf(Summary.rounded(kib / 1024, 1));
    }

    /** The device's memory, MiB, or null. */
    public Double totalMemoryMib() {
        Double kib = field(text(new File(proc, "meminfo")), "MemTotal:");
        return kib == null ? null : Double.valueOf(Math.rint(kib / 1024));
    }

    private static Double field(String text, String name) {
        for (String line : text == null ? new String[0] : text.split("\n")) {
            String[] words = line.trim().split("\\s+");
            if (words.length > 1 && words[0].equals(name)) {
                try {
                    return Double.valueOf(words[1]);
                } catch (NumberFormatException exc) {
                    return null;
                }
            }
        }
        return null;
    }

    /** What the kernel says of the processor, or null. */
    public String cpuInfo() {
        return text(new File(proc, "cpuinfo"));
    }

    /** The processor's name, or null. */
    public String cpu() {
        String text = cpuInfo();
        for (String name : new String[] {"model name", "Hardware"}) {
            for (String line : text == null ? new String[0] : text.split("\n")) {
                if (line.startsWith(name) && line.indexOf(':') > 0) {
                    return line.substring(line.indexOf(':') + 1).trim();
                }
            }
        }
        return null;
    }

    /** Seconds that all CPUs were at work, less this process's {@code ownSeconds}; null where Android hides it. */
    public Double othersBusySeconds(double ownSeconds) {
        String text = text(new File(proc, "stat"));
        if (text == null || !text.startsWith("cpu ")) {
            return null;
        }
        String[] words = text.split("\n")[0].trim().split("\\s+");
        double ticks = 0;
        try {
            for (int field : new int[] {1, 2, 3, 6, 7, 8}) { // user nice system irq softirq steal
                ticks += Double.parseDouble(words[field]);
            }
        } catch (RuntimeException exc) {
            return null;
        }
        return ticks / 100 - ownSeconds; // USER_HZ is 100 on every Linux
    }
}
