package org.ghostedge.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.util.Arrays;
import java.util.Map;
import org.junit.Test;

public class JsonTest {
    @Test
    public void whatIsWrittenIsRead() throws Exception {
        String text = "{\"a\":[1,-2.5,1.0E10,true,false,null],\"b\":{\"c\":\"\\\"\\\\\\n\\u0001é\\ud83d\\ude00\"},\"d\":{},\"e\":[]}";
        Object value = Json.parse(text);
        assertEquals(text.replace("\\n", "\\u000a"), Json.write(value));
        assertEquals(value, Json.parse(Json.write(value)));
    }

    @Test
    public void numbersSurvive() throws Exception {
        for (double number : new double[] {0.1, 1e-320, 123456789.123456789, -0.0, 1e22}) {
            assertEquals(number, ((Number) Json.parse(Json.write(number))).doubleValue(), 0);
        }
        assertEquals("[0.1,null]", Json.write(new float[] {0.1f, Float.NaN}));
        assertEquals(Long.MAX_VALUE, Json.parse("" + Long.MAX_VALUE));
    }

    @Test
    public void damagedTextIsNamedByItsPlace() {
        for (String text : Arrays.asList("", "{", "[1,", "{\"a\"}", "{\"a\":1,}", "[1] 2", "\"\\x\"", "\"abc", "01x",
                "1e999", "nul", "{\"a\":1,\"a\":2}", "\"\\u12g4\"", "--1", "99999999999999999999")) {
            try {
                Json.parse(text);
                fail(text);
            } catch (DemoException exc) {
                assertTrue(exc.getMessage(), exc.getMessage().contains("at character"));
            }
        }
        StringBuilder deep = new StringBuilder();
        for (int i = 0; i < 100000; i++) {
            deep.append('[');
        }
        try {
            Json.parse(deep.toString());
            fail("a deep document must not overflow the stack");
        } catch (DemoException exc) {
            assertTrue(exc.getMessage().contains("deeply"));
        }
    }

    @Test
    public void objectsKeepTheirOrder() throws Exception {
        Map<String, Object> map = Json.parseObject("{\"z\":1,\"a\":2}");
        assertEquals("[z, a]", map.keySet().toString());
    }
}
