package org.ghostedge.core;

import java.util.LinkedHashMap;
import java.util.Map;

/** What was found about a model's answers to golden pictures, in short. */
public final class Verdict {
    /** Pictures whose best class is MindSpore's. */
    public final int right;
    /** Pictures that were asked. */
    public final int images;
    /** How near the logits are, e.g. {@code "70.6 dB"}. */
    public final String nearness;
    /** Why the answers are wrong; null where they are right. */
    public final String reason;

    Verdict(int right, int images, String nearness, String reason) {
        this.right = right;
        this.images = images;
        this.nearness = nearness;
        this.reason = reason;
    }

    Map<String, Object> toJson() {
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("right", right);
        out.put("images", images);
        out.put("nearness", nearness);
        out.put("reason", reason);
        return out;
    }

    /** Null for what {@link #toJson} does not write. */
    static Verdict fromJson(Object json) {
        Map<?, ?> map = json instanceof Map ? (Map<?, ?>) json : new LinkedHashMap<String, Object>();
        Object reason = map.get("reason");
        boolean known = map.get("right") instanceof Long && map.get("images") instanceof Long
                && map.get("nearness") instanceof String && (reason == null || reason instanceof String);
        return !known ? null : new Verdict(((Long) map.get("right")).intValue(),
                ((Long) map.get("images")).intValue(), (String) map.get("nearness"), (String) reason);
    }
}
