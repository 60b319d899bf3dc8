package org.ghostedge.core;

import static org.junit.Assert.assertEquals;

import java.util.List;
import java.util.Map;
import org.junit.Test;

public class SummaryTest {
    @Test
    @SuppressWarnings("unchecked")
    public void summariesAreThoseOfTheScript() throws Exception {
        for (Map<String, Object> each : TestData.<Map<String, Object>>golden("summary")) {
            List<?> list = (List<?>) each.get("samples");
            double[] samples = new double[list.size()];
            for (int i = 0; i < samples.length; i++) {
                samples[i] = (Double) list.get(i);
            }
            Map<String, Object> ours = Summary.of(samples);
            for (Map.Entry<String, Object> entry : ((Map<String, Object>) each.get("summary")).entrySet()) {
                // Percentiles are samples; mean and std may round the sixth digit the other way.
                double tolerance = entry.getKey().matches("mean|std") ? 1.001e-6 : 0;
                double theirs = ((Number) entry.getValue()).doubleValue();
                assertEquals(samples.length + entry.getKey(), theirs, (Double) ours.get(entry.getKey()), tolerance);
            }
        }
    }

    @Test
    public void halvesRoundAsInPython() {
        assertEquals(0.12, Summary.rounded(0.125, 2), 0);
        assertEquals(2.67, Summary.rounded(2.675, 2), 0); // 2.675 is a little less in binary
        assertEquals(2.5, Summary.median(new double[] {9, 4, 1, 2, 3, 9}, 1, 5), 0);
    }
}
