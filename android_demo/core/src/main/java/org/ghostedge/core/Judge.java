package org.ghostedge.core;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeSet;

/**
 * Say whether a latency record's number is valid and why not, by the rules and codes of edge_benchmark.py's judge().
 *
 * <p>tests/android_demo holds the two to each other on the same records.
 */
@SuppressWarnings("unchecked")
final class Judge {
    private static final double MAX_DRIFT = 0.05;
    private static final int FEWEST_SAMPLES = 30;
    /** Looks at the frequency from which a fall can be told; the shortest valid run, of a minute, has 29. */
    private static final int FEWEST_LOOKS = 15;
    private static final double MAX_FREQUENCY_FALL = 0.05;
    private static final double MAX_OVERHEAD = 0.01;
    private static final double MAX_OTHER_CORES = 0.2;

    private final Map<String, Object> record;
    private final double[] samples;
    private final List<Object> found = new ArrayList<>();

    private Judge(Map<String, Object> record) {
        this.record = record;
        this.samples = (double[]) record.get("samples_ms");
    }

    /** Why the number is not valid: a list of {code, text}, empty when it is. */
    static List<Object> reasons(Map<String, Object> record) {
        Judge judge = new Judge(record);
        judge.findReasons();
        return judge.found;
    }

    /** What should be known beside the number: a list of {code, text}. */
    static List<Object> warnings(Map<String, Object> record) {
        Judge judge = new Judge(record);
        judge.findWarnings();
        return judge.found;
    }

    private void add(String code, String format, Object... values) {
        Map<String, Object> finding = new LinkedHashMap<>();
        finding.put("code", code);
        finding.put("text", String.format(Locale.ROOT, format, values));
        found.add(finding);
    }

    private Object get(String... path) {
        Object value = record;
        for (String name : path) {
            value = value == null ? null : ((Map<String, Object>) value).get(name);
        }
        return value;
    }

    private double number(String... path) {
        return ((Number) get(path)).doubleValue();
    }

    private void findReasons() {
        double seconds = number("duration_s");
        if (Boolean.FALSE.equals(get("verification", "correct"))) {
            add("wrong_answers", "%s", get("verification", "reason"));
        }
        if ("quick".equals(get("mode"))) {
            add("quick", "mode quick: %d samples in %.1f s", samples.length, seconds);
        } else if (samples.length < BenchmarkJob.FULL_SAMPLES || seconds < BenchmarkJob.FULL_SECONDS) {
            add("too_short", "%d samples in %.0f s, not %d and %.0f s", samples.length, seconds,
                    BenchmarkJob.FULL_SAMPLES, BenchmarkJob.FULL_SECONDS);
        }
        if (Boolean.TRUE.equals(get("device", "emulated"))) {
            add("emulated", "the processor is emulated: times say nothing about a real one");
        }
        if (!Boolean.TRUE.equals(get("warmup", "steady"))) {
            Object spread = get("warmup", "spread_percent");
            String apart = spread == null ? ""
                    : String.format(Locale.ROOT, ": the last windows' medians lie %.1f%% apart", spread);
            add("not_steady", "not steady after %.1f s of warm-up%s", number("warmup", "duration_s"), apart);
        }
        Double drift = change(samples, FEWEST_SAMPLES);
        if (drift != null && Math.abs(drift) > MAX_DRIFT) {
            add("drift", "the last third of the samples took %.0f%% %s than the first", 100 * Math.abs(drift),
                    drift > 0 ? "longer" : "less");
        }
        Object other = get("context", "other_cores");
        if (other != null && (Double) other > MAX_OTHER_CORES) {
            add("busy", "other programs used %.1f cores meanwhile; stop them", other);
        }
        Double fall = change(highestFrequencies(), FEWEST_LOOKS);
        if (fall != null && -fall > MAX_FREQUENCY_FALL) {
            add("frequency_fell", "the CPU frequency fell by %.0f%% meanwhile", -100 * fall);
        }
        if (get("context", "before", "throttle_flags") != null && get("context", "after", "throttle_flags") != null) {
            TreeSet<String> seen = new TreeSet<>();
            for (String when : new String[] {"before", "after"}) {
                for (Object flag : (List<Object>) get("context", when, "throttle_flags", "now")) {
                    seen.add((String) flag);
                }
            }
            List<Object> earlier = (List<Object>) get("context", "before", "throttle_flags", "since_boot");
            for (Object flag : (List<Object>) get("context", "after", "throttle_flags", "since_boot")) {
                if (!earlier.contains(flag)) {
                    seen.add((String) flag);
                }
            }
            if (!seen.isEmpty()) {
                add("throttled", "the device reports: %s; let it cool down", joined(seen));
            }
        }
        double p50 = number("latency_ms", "p50");
        double overhead = number("overhead_us");
        double share = p50 > 0 ? overhead / 1e3 / p50 : 1;
        if (share > MAX_OVERHEAD) {
            add("overhead", "the timer's overhead of %.1f us is %.1f%% of the median", overhead, 100 * share);
        }
    }

    private void findWarnings() {
        if (get("output") != null && !Boolean.TRUE.equals(get("output", "finite"))) {
            add("not_finite", "the output holds infinity or NaN");
        }
        if (get("verification") != null && !(Boolean.TRUE.equals(get("verification", "repeats", "identical"))
                && Boolean.TRUE.equals(get("verification", "repeats", "after_timing_identical")))) {
            add("not_repeatable", "one picture did not always give the same answer");
        }
        double[] ran = highestFrequencies();
        double limit = 0;
        List<Object> limits = (List<Object>) get("device", "max_frequency_mhz");
        for (Object value : limits == null ? new ArrayList<Object>() : limits) {
            limit = value == null ? limit : Math.max(limit, (Double) value);
        }
        if (ran.length > 0 && Summary.median(ran, 0, ran.length) < limit * (1 - MAX_FREQUENCY_FALL)) {
            add("below_max_frequency", "ran at %.0f of %.0f MHz", Summary.median(ran, 0, ran.length), limit);
        }
        if ("battery".equals(get("context", "before", "power", "source"))) {
            add("battery", "the device runs on its battery");
        }
        TreeSet<String> governors = new TreeSet<>();
        List<Object> list = (List<Object>) get("context", "before", "governor");
        for (Object governor : list == null ? new ArrayList<Object>() : list) {
            if (governor != null && !((String) governor).isEmpty()) {
                governors.add((String) governor);
            }
        }
        TreeSet<String> others = new TreeSet<>(governors);
        others.remove("performance");
        if (!others.isEmpty()) {
            add("governor", "CPU governor: %s (as applications meet it)", joined(governors));
        }
        Object cores = get("device", "cores");
        if (cores != null && number("settings", "threads") > number("device", "cores")) {
            add("too_many_threads", "%s threads on %s cores", get("settings", "threads"), cores);
        }
    }

    private static String joined(Iterable<String> names) {
        StringBuilder text = new StringBuilder();
        for (String name : names) {
            text.append(text.length() == 0 ? "" : ", ").append(name);
        }
        return text.toString();
    }

    /** How much larger the median of the last third is than that of the first, as a share; null for under `fewest`. */
    static Double change(double[] values, int fewest) {
        int third = values.length / 3;
        double early = values.length >= fewest ? Summary.median(values, 0, third) : 0;
        return early == 0 ? null
                : Double.valueOf(Summary.median(values, values.length - third, values.length) / early - 1);
    }

    /** The fastest core's frequency at each look during the samples, MHz: idle cores may be slow. */
    private double[] highestFrequencies() {
        List<Object> looks = (List<Object>) get("context", "during");
        double[] highest = new double[looks.size()];
        int count = 0;
        for (Object look : looks) {
            List<Object> values = (List<Object>) ((Map<String, Object>) look).get("frequency_mhz");
            double best = 0;
            for (Object value : values == null ? new ArrayList<Object>() : values) {
                best = value == null ? best : Math.max(best, (Double) value);
            }
            if (best > 0) {
                highest[count++] = best;
            }
        }
        return java.util.Arrays.copyOf(highest, count);
    }
}
