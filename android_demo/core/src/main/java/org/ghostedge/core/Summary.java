package org.ghostedge.core;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;

/** Percentiles, mean and spread of samples, as benchmarks/edge_benchmark.py summarises them. */
public final class Summary {
    private Summary() {}

    /** p50, p90, p95, p99, mean, std, min and max of at least one sample, in their unit, rounded to 6 digits. */
    public static Map<String, Object> of(double[] samples) {
        double[] ordered = samples.clone();
        Arrays.sort(ordered);
        Map<String, Object> summary = new LinkedHashMap<>();
        for (int share : new int[] {50, 90, 95, 99}) {
            summary.put("p" + share, rounded(percentile(ordered, share), 6));
        }
        double mean = sum(ordered) / ordered.length;
        double[] squares = new double[ordered.length];
        for (int i = 0; i < squares.length; i++) {
            squares[i] = (ordered[i] - mean) * (ordered[i] - mean);
        }
        double spread = ordered.length > 1 ? Math.sqrt(sum(squares) / (ordered.length - 1)) : 0.0;
        summary.put("mean", rounded(mean, 6));
        summary.put("std", rounded(spread, 6));
        summary.put("min", rounded(ordered[0], 6));
        summary.put("max", rounded(ordered[ordered.length - 1], 6));
        return summary;
    }

    /** The value that {@code share} percent of the sorted samples do not exceed: the nearest rank, a measured value. */
    public static double percentile(double[] ordered, int share) {
        int rank = (ordered.length * share + 99) / 100;
        return ordered[Math.max(0, rank - 1)];
    }

    /** The middle value, or the mean of the two in the middle, of values from {@code start} to {@code end}. */
    public static double median(double[] values, int start, int end) {
        double[] ordered = Arrays.copyOfRange(values, start, end);
        Arrays.sort(ordered);
        int half = ordered.length / 2;
        return ordered.length % 2 == 1 ? ordered[half] : (ordered[half - 1] + ordered[half]) / 2;
    }

    /** To {@code digits} after the point, halves of the exact binary value to even: Python's round(). */
    public static double rounded(double value, int digits) {
        if (Double.isNaN(value) || Double.isInfinite(value)) {
            return value;
        }
        return new BigDecimal(value).setScale(digits, RoundingMode.HALF_EVEN).doubleValue();
    }

    /** Neumaier's summation: exact to the last digit or two, as Python's fmean is. */
    private static double sum(double[] values) {
        double total = 0;
        double lost = 0;
        for (double term : values) {
            double next = total + term;
            lost += Math.abs(total) >= Math.abs(term) ? (total - next) + term : (term - next) + total;
            total = next;
        }
        return total + lost;
    }
}
