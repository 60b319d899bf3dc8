package org.ghostedge.core;

import java.lang.reflect.Array;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Read and write JSON (RFC 8259): the framework's org.json is not there on a desktop JVM, where this room is tested.
 *
 * <p>Objects are LinkedHashMap, arrays are ArrayList, numbers are Long where they are written as integers and else
 * Double; a name that is there twice is refused.
 */
public final class Json {
    private static final int MAX_DEPTH = 64;

    private final String text;
    private int at;

    private Json(String text) {
        this.text = text;
    }

    /** Parses one JSON document. Throws: DemoException with the place of the first fault. */
    public static Object parse(String text) throws DemoException {
        Json json = new Json(text);
        Object value = json.value(0);
        json.space();
        if (json.at != text.length()) {
            throw json.fault("something follows the document");
        }
        return value;
    }

    /** Parses one JSON object. */
    @SuppressWarnings("unchecked")
    public static Map<String, Object> parseObject(String text) throws DemoException {
        Object value = parse(text);
        if (!(value instanceof Map)) {
            throw new DemoException("JSON: an object is expected");
        }
        return (Map<String, Object>) value;
    }

    private DemoException fault(String what) {
        return new DemoException("JSON: " + what + " at character " + at);
    }

    private void space() {
        while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
    }

    private Object value(int depth) throws DemoException {
        if (depth > MAX_DEPTH) {
            throw fault("nested too deeply");
        }
        space();
        if (at >= text.length()) {
            throw fault("cut short");
        }
        char c = text.charAt(at);
        if (c == '{') {
            return object(depth);
        }
        if (c == '[') {
            return array(depth);
        }
        if (c == '"') {
            return string();
        }
        if (c == '-' || (c >= '0' && c <= '9')) {
            return number();
        }
        if (word("true")) {
            return Boolean.TRUE;
        }
        if (word("false")) {
            return Boolean.FALSE;
        }
        if (word("null")) {
            return null;
        }
        throw fault("unexpected '" + c + "'");
    }

    private boolean word(String word) {
        if (text.startsWith(word, at)) {
            at += word.length();
            return true;
        }
        return false;
    }

    private boolean take(char c) {
        space();
        if (at < text.length() && text.charAt(at) == c) {
            at++;
            return true;
        }
        return false;
    }

    private Map<String, Object> object(int depth) throws DemoException {
        Map<String, Object> map = new LinkedHashMap<>();
        at++;
        if (take('}')) {
            return map;
        }
        do {
            space();
            if (at >= text.length() || text.charAt(at) != '"') {
                throw fault("a name is expected");
            }
            String name = string();
            if (!take(':')) {
                throw fault("':' is expected");
            }
            if (map.containsKey(name)) {
                throw fault("'" + name + "' is there twice,");
            }
            map.put(name, value(depth + 1));
        } while (take(','));
        if (!take('}')) {
            throw fault("'}' is expected");
        }
        return map;
    }

    private List<Object> array(int depth) throws DemoException {
        List<Object> list = new ArrayList<>();
        at++;
        if (take(']')) {
            return list;
        }
        do {
            list.add(value(depth + 1));
        } while (take(','));
        if (!take(']')) {
            throw fault("']' is expected");
        }
        return list;
    }

    private String string() throws DemoException {
        StringBuilder out = new StringBuilder();
        at++;
        while (at < text.length()) {
            char c = text.charAt(at++);
            if (c == '"') {
                return out.toString();
            }
            if (c < ' ') {
                throw fault("a control character in a string");
            }
            if (c != '\\') {
                out.append(c);
                continue;
            }
            if (at >= text.length()) {
                break;
            }
            char escape = text.charAt(at++);
            int place = "\"\\/bfnrt".indexOf(escape);
            if (place >= 0) {
                out.append("\"\\/\b\f\n\r\t".charAt(place));
            } else if (escape == 'u' && at + 4 <= text.length()) {
                int code = 0;
                for (int i = 0; i < 4; i++) {
                    int digit = Character.digit(text.charAt(at++), 16);
                    if (digit < 0) {
                        throw fault("a damaged \\u escape");
                    }
                    code = code * 16 + digit;
                }
                out.append((char) code);
            } else {
                throw fault("an unknown escape");
            }
        }
        throw fault("a string is cut short");
    }

    private Object number() throws DemoException {
        int start = at;
        while (at < text.length() && "+-.eE0123456789".indexOf(text.charAt(at)) >= 0) {
            at++;
        }
        String digits = text.substring(start, at);
        try {
            if (digits.indexOf('.') < 0 && digits.indexOf('e') < 0 && digits.indexOf('E') < 0) {
                return Long.valueOf(digits);
            }
            double value = Double.parseDouble(digits);
            if (!Double.isInfinite(value)) {
                return value;
            }
        } catch (NumberFormatException exc) {
            // falls through
        }
        at = start;
        throw fault("'" + digits + "' is not a number");
    }

    /** Writes maps, iterables, int, float and double arrays, strings, numbers, booleans and null on one line. */
    public static String write(Object value) {
        StringBuilder out = new StringBuilder();
        write(value, out);
        return out.toString();
    }

    /** As {@link #write(Object)}, at the end of {@code out}. NaN and infinity, which JSON has not, are null. */
    public static void write(Object value, StringBuilder out) {
        if (value == null || value instanceof Boolean || value instanceof Integer || value instanceof Long) {
            out.append(value);
        } else if (value instanceof Float) {
            float number = (Float) value;
            out.append(Float.isNaN(number) || Float.isInfinite(number) ? "null" : Float.toString(number));
        } else if (value instanceof Double) {
            double number = (Double) value;
            out.append(Double.isNaN(number) || Double.isInfinite(number) ? "null" : Double.toString(number));
        } else if (value instanceof Map) {
            char before = '{';
            for (Map.Entry<?, ?> entry : ((Map<?, ?>) value).entrySet()) {
                out.append(before);
                quote((String) entry.getKey(), out);
                out.append(':');
                write(entry.getValue(), out);
                before = ',';
            }
            out.append(before == '{' ? "{}" : "}");
        } else if (value instanceof Iterable) {
            char before = '[';
            for (Object item : (Iterable<?>) value) {
                out.append(before);
                write(item, out);
                before = ',';
            }
            out.append(before == '[' ? "[]" : "]");
        } else if (value instanceof int[] || value instanceof float[] || value instanceof double[]) {
            int length = Array.getLength(value);
            for (int i = 0; i < length; i++) {
                out.append(i == 0 ? '[' : ',');
                write(Array.get(value, i), out);
            }
            out.append(length == 0 ? "[]" : "]");
        } else if (value instanceof String) {
            quote((String) value, out);
        } else {
            throw new IllegalArgumentException("not a JSON value: " + value.getClass());
        }
    }

    private static void quote(String text, StringBuilder out) {
        out.append('"');
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < ' ' || Character.isSurrogate(c) || c == '\u2028' || c == '\u2029') {
                String digits = Integer.toHexString(c);
                out.append("\\u").append("0000".substring(digits.length())).append(digits);
            } else {
                out.append(c);
            }
        }
        out.append('"');
    }
}
