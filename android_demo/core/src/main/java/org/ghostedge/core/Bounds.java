package org.ghostedge.core;

import java.util.LinkedHashMap;
import java.util.Map;

/** What a model's answers are held to, by the rule of edge_benchmark.py's bounds_of(). */
public final class Bounds {
    private static final String SNR = "min_snr_db";
    private static final String TOP1 = "min_top1_agreement";
    /** Where the model does not say it: the bounds of the loosest recipe of ghostedge. */
    private static final double DEFAULT_SNR_DB = 18.0;

    private static final double DEFAULT_TOP1 = 0.7;
    /** At most these where the runtime computes in 16 bits: a float32 model's own are more than those can give. */
    private static final double SNR_DB_16_BIT = 40.0;

    private static final double TOP1_16_BIT = 0.85;

    final double minSnrDb;
    final double minTop1Agreement;
    private final boolean ofModel;

    private Bounds(double minSnrDb, double minTop1Agreement, boolean ofModel) {
        this.minSnrDb = minSnrDb;
        this.minTop1Agreement = minTop1Agreement;
        this.ofModel = ofModel;
    }

    /**
     * The bounds of a model.
     *
     * @param inferencePrecision what its floating-point operators are computed in: {@code "f16"} or {@code "f32"}
     */
    public static Bounds of(Description description, String inferencePrecision) {
        Map<String, Double> said = description.bounds;
        double snr = said.containsKey(SNR) ? said.get(SNR) : DEFAULT_SNR_DB;
        double top1 = said.containsKey(TOP1) ? said.get(TOP1) : DEFAULT_TOP1;
        if ("f16".equals(inferencePrecision)) {
            snr = Math.min(snr, SNR_DB_16_BIT);
            top1 = Math.min(top1, TOP1_16_BIT);
        }
        return new Bounds(snr, top1, said.containsKey(SNR) && said.containsKey(TOP1));
    }

    Map<String, Object> toJson() {
        Map<String, Object> out = new LinkedHashMap<>();
        out.put(SNR, minSnrDb);
        out.put(TOP1, minTop1Agreement);
        out.put("from", ofModel ? "model" : "default");
        return out;
    }
}
