package org.ghostedge.core;

import java.math.BigDecimal;
import java.math.MathContext;
import java.math.RoundingMode;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Answers beside the right ones, picture by picture: the numbers and the words of edge_benchmark.py. */
final class Comparison {
    private static final int MOST_NAMES = 5;

    private final List<String> disagreeing = new ArrayList<>();
    private double noise;
    private double signal;
    private double maxAbs;
    private boolean finite = true;
    private int same;
    private int count;

    /** Takes one picture's answer. */
    void add(String name, float[] wanted, float[] found) {
        for (int i = 0; i < wanted.length; i++) {
            double difference = (double) found[i] - wanted[i];
            noise += difference * difference;
            signal += (double) wanted[i] * wanted[i];
            maxAbs = Math.max(maxAbs, Math.abs(difference));
            finite &= !Float.isNaN(found[i]) && !Float.isInfinite(found[i]);
        }
        count++;
        if (best(found) == best(wanted)) {
            same++;
        } else if (disagreeing.size() < MOST_NAMES) {
            disagreeing.add(name);
        }
    }

    /** As numpy's argmax: the first of equal ones, and NaN before all. */
    private static int best(float[] values) {
        int best = 0;
        for (int i = 0; i < values.length; i++) {
            if (Float.isNaN(values[i])) {
                return i;
            }
            if (values[i] > values[best]) {
                best = i;
            }
        }
        return best;
    }

    int right() {
        return same;
    }

    int count() {
        return count;
    }

    /** Of all answers, dB; null for identical ones, or where one is not finite. */
    Double snrDb() {
        return finite ? snrDb(share(noise, signal)) : null;
    }

    /** How near the logits are: {@code "70.6 dB"}, {@code "identical"} or {@code "not finite"}. */
    String nearness() {
        Double snr = snrDb();
        return snr != null ? fixed(snr, 1) + " dB" : finite ? "identical" : "not finite";
    }

    /** Adds the record's entries, snr_db to disagreeing. */
    void putInto(Map<String, Object> record) {
        record.put("snr_db", snrDb());
        record.put("max_abs", finite ? Double.valueOf(maxAbs) : null);
        record.put("finite", finite);
        record.put("top1_agreement", agreement());
        record.put("disagreeing", disagreeing);
    }

    private double agreement() {
        return (double) same / count;
    }

    /** The power of the difference as a share of the power of {@code wanted}; infinite where one is not finite. */
    static double noisePower(float[] wanted, float[] found) {
        double noise = 0;
        double signal = 0;
        for (int i = 0; i < wanted.length; i++) {
            double difference = (double) found[i] - wanted[i];
            noise += difference * difference;
            signal += (double) wanted[i] * wanted[i];
        }
        return share(noise, signal);
    }

    private static double share(double noise, double signal) {
        boolean whole = !Double.isNaN(noise) && !Double.isInfinite(noise);
        return whole ? noise / Math.max(signal, 1e-300) : Double.POSITIVE_INFINITY;
    }

    /** Signal to noise ratio, dB; null for identical numbers, since JSON has no infinity. */
    static Double snrDb(double share) {
        if (Double.isInfinite(share)) {
            return -9999.0;
        }
        return share == 0 ? null : Double.valueOf(Summary.rounded(-10.0 * Math.log10(share), 2));
    }

    /** Why the answers are wrong, for people; null where they keep to the bounds. */
    String reason(Bounds bounds) {
        if (!finite) {
            return "its answers to the golden pictures hold NaN or infinity";
        }
        Double snr = snrDb();
        if (snr != null && snr < bounds.minSnrDb) {
            return "its answers to the golden pictures are " + fixed(snr, 1) + " dB from MindSpore's, the bound is "
                    + general(bounds.minSnrDb) + " dB";
        }
        if (agreement() < bounds.minTop1Agreement) {
            StringBuilder names = new StringBuilder();
            for (String name : disagreeing) {
                names.append(names.length() == 0 ? "" : ", ").append(name);
            }
            return "it agrees on " + percent(agreement()) + " of the golden pictures, the bound is "
                    + percent(bounds.minTop1Agreement) + " (not on " + names + ")";
        }
        return null;
    }

    /** Python's {@code .Nf}: Java's own format rounds the shortest decimal, not the number itself. */
    static String fixed(double value, int digits) {
        return new BigDecimal(value).setScale(digits, RoundingMode.HALF_EVEN).toPlainString();
    }

    static String percent(double share) {
        return fixed(100 * share, 0) + "%";
    }

    /** Python's {@code g}, for numbers that are neither huge nor tiny. */
    static String general(double value) {
        BigDecimal six = new BigDecimal(value).round(new MathContext(6, RoundingMode.HALF_EVEN));
        return six.signum() == 0 ? "0" : six.stripTrailingZeros().toPlainString();
    }
}
