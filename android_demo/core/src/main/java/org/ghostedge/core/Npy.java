package org.ghostedge.core;

import java.nio.BufferUnderflowException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * One array of NumPy's .npy format, versions 1 to 3: bytes, float32, integers or text, in C order.
 *
 * <p>The file comes from outside: a header that promises more than is there, or Python objects, is refused before
 * anything is allocated for it. Faults are short reasons, for the caller's sentence.
 */
final class Npy {
    private static final int MAX_HEADER = 1 << 16;
    private static final int MAX_DIMENSIONS = 8;

    /** As NumPy writes it, e.g. {@code <f4}; without the byte order for single bytes: {@code |u1}. */
    final String dtype;

    final int[] shape;
    private final int size;
    private final ByteBuffer data;

    /** Reads a whole .npy file. Throws: DemoException with the reason. */
    Npy(byte[] file) throws DemoException {
        ByteBuffer all = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
        Header header;
        try {
            if (all.get() != (byte) 0x93 || all.get() != 'N' || all.get() != 'U' || all.get() != 'M'
                    || all.get() != 'P' || all.get() != 'Y') {
                throw new DemoException("it is no .npy");
            }
            int version = all.get();
            int minor = all.get();
            if (version < 1 || version > 3 || minor != 0) {
                throw new DemoException(".npy version " + version + "." + minor + " is not known");
            }
            int length = version == 1 ? all.getShort() & 0xffff : all.getInt();
            if (length < 0 || length > MAX_HEADER) {
                throw new DemoException("its header is too long");
            }
            byte[] text = new byte[length];
            all.get(text);
            header = new Header(new String(text, StandardCharsets.UTF_8));
        } catch (BufferUnderflowException exc) {
            throw new DemoException("its header is cut short", exc);
        }
        dtype = header.dtype;
        shape = header.shape;
        long count = 1;
        for (int side : shape) {
            count = Math.min(Integer.MAX_VALUE, count * side); // a header can promise more than a long holds
        }
        int bytes = bytesOf(dtype);
        if (count * bytes != all.remaining()) {
            throw new DemoException("its shape " + Arrays.toString(shape) + " of " + dtype + " is not " + all.remaining()
                    + " bytes");
        }
        size = (int) count;
        data = all.slice().order(ByteOrder.LITTLE_ENDIAN);
    }

    /** Bytes of one value. Throws: DemoException for types that are not read. */
    private static int bytesOf(String dtype) throws DemoException {
        if (dtype.startsWith("<U") && dtype.length() > 2 && dtype.length() < 8) {
            try {
                int characters = Integer.parseInt(dtype.substring(2));
                if (characters > 0) {
                    return 4 * characters;
                }
            } catch (NumberFormatException exc) {
                throw new DemoException("its type " + dtype + " is not known", exc);
            }
        }
        switch (dtype) {
            case "|u1":
            case "|i1":
                return 1;
            case "<i2":
                return 2;
            case "<f4":
            case "<i4":
                return 4;
            case "<i8":
                return 8;
            case "|O":
                throw new DemoException("it holds Python objects, which are not read");
            default:
                throw new DemoException("its type " + dtype + " is not read");
        }
    }

    /** The bytes of an array of {@code |u1}. */
    byte[] bytes() {
        byte[] out = new byte[size];
        data.duplicate().get(out);
        return out;
    }

    /** The values of an array of {@code <f4}. */
    float[] floats() {
        float[] out = new float[size];
        data.asFloatBuffer().get(out);
        return out;
    }

    /** The first value of an array of integers. */
    long integer() {
        switch (dtype) {
            case "|i1":
                return data.get(0);
            case "<i2":
                return data.getShort(0);
            case "<i4":
                return data.getInt(0);
            default:
                return data.getLong(0);
        }
    }

    /** The values of an array of {@code <U...}. Throws: DemoException where one is no text. */
    String[] texts() throws DemoException {
        int characters = Integer.parseInt(dtype.substring(2));
        String[] out = new String[size];
        for (int i = 0; i < size; i++) {
            StringBuilder text = new StringBuilder();
            int zeros = 0; // those at the end are padding
            for (int k = 0; k < characters; k++) {
                int code = data.getInt(4 * (i * characters + k));
                if (!Character.isValidCodePoint(code)) {
                    throw new DemoException("a text of it is damaged");
                }
                if (code == 0) {
                    zeros++;
                    continue;
                }
                for (; zeros > 0; zeros--) {
                    text.append('\0');
                }
                text.appendCodePoint(code);
            }
            out[i] = text.toString();
        }
        return out;
    }

    /** The dict in the header: {@code {'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }}, any order. */
    private static final class Header {
        private final String text;
        private int at;
        String dtype;
        int[] shape;

        Header(String text) throws DemoException {
            this.text = text;
            Boolean fortran = null;
            need('{');
            while (!take('}')) {
                String key = quoted();
                need(':');
                if (key.equals("descr") && dtype == null) {
                    dtype = quoted();
                } else if (key.equals("fortran_order") && fortran == null) {
                    fortran = take("True");
                    if (!fortran && !take("False")) {
                        throw fault();
                    }
                } else if (key.equals("shape") && shape == null) {
                    shape = tuple();
                } else {
                    throw fault();
                }
                if (!take(',')) {
                    need('}');
                    break;
                }
            }
            space();
            if (at != text.length() || dtype == null || fortran == null || shape == null) {
                throw fault();
            }
            if (fortran) {
                throw new DemoException("it is in Fortran's order, which is not read");
            }
        }

        private static DemoException fault() {
            return new DemoException("its header is damaged");
        }

        private void space() {
            while (at < text.length() && " \n".indexOf(text.charAt(at)) >= 0) {
                at++;
            }
        }

        private boolean take(char c) {
            return take(String.valueOf(c));
        }

        private boolean take(String word) {
            space();
            boolean there = text.startsWith(word, at);
            at += there ? word.length() : 0;
            return there;
        }

        private void need(char c) throws DemoException {
            if (!take(c)) {
                throw fault();
            }
        }

        private String quoted() throws DemoException {
            space();
            char quote = at < text.length() ? text.charAt(at) : ' ';
            int end = quote == '\'' || quote == '"' ? text.indexOf(quote, at + 1) : -1;
            if (end < 0) { // the list of a structured type begins with a bracket
                throw quote == '[' ? new DemoException("it holds records, which are not read") : fault();
            }
            String value = text.substring(at + 1, end);
            at = end + 1;
            return value;
        }

        private int[] tuple() throws DemoException {
            int[] sides = new int[MAX_DIMENSIONS];
            int count = 0;
            need('(');
            while (!take(')')) {
                space();
                int start = at;
                while (at < text.length() && text.charAt(at) >= '0' && text.charAt(at) <= '9') {
                    at++;
                }
                if (at == start || at - start > 9 || count == MAX_DIMENSIONS) {
                    throw new DemoException("its shape is absurd");
                }
                sides[count++] = Integer.parseInt(text.substring(start, at));
                if (!take(',')) {
                    need(')');
                    break;
                }
            }
            return Arrays.copyOf(sides, count);
        }
    }
}
