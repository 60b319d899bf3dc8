package org.ghostedge.core;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.zip.CRC32;
import java.util.zip.DataFormatException;
import java.util.zip.Inflater;

/**
 * Read a zip archive that is in memory, by its list of files at the end; whatever is before the archive is skipped.
 *
 * <p>java.util.zip.ZipFile cannot: Android's refuses a file that does not begin with an entry, and what is mapped from
 * the APK is no file of its own. Everything is read by absolute index; the buffer's position stays. Faults are short
 * reasons, for the caller's sentence.
 */
final class Zip {
    private static final int END = 0x06054b50;
    private static final int ENTRY = 0x02014b50;
    private static final int LOCAL = 0x04034b50;
    private static final int END_SIZE = 22;
    private static final int MAX_ENTRIES = 64;
    private static final int STORED = 0;
    private static final int DEFLATED = 8;

    private final ByteBuffer data;

    /** One file of the archive. */
    static final class Entry {
        final String name;
        private final int method;
        private final int crc;
        private final int stored;
        private final int size;
        private final int start;

        private Entry(String name, int method, int crc, int stored, int size, int start) {
            this.name = name;
            this.method = method;
            this.crc = crc;
            this.stored = stored;
            this.size = size;
            this.start = start;
        }

        /** Whether it is there as it is, without compression. */
        boolean plain() {
            return method == STORED;
        }

        /** Whether it says that it has at most so many bytes; those beyond 2 GiB have a negative size here. */
        boolean fits(int most) {
            return stored >= 0 && size >= 0 && size <= most;
        }
    }

    Zip(ByteBuffer bytes) {
        data = bytes.duplicate();
        data.clear();
        data.order(ByteOrder.LITTLE_ENDIAN);
    }

    /** The files by their names; none where there is no archive. Throws: DemoException with the reason. */
    Map<String, Entry> entries() throws DemoException {
        Map<String, Entry> entries = new LinkedHashMap<>();
        int end = endRecord();
        if (end < 0) {
            return entries;
        }
        try {
            int count = data.getShort(end + 10) & 0xffff;
            int at = data.getInt(end + 16);
            if (count > MAX_ENTRIES) {
                throw new DemoException("it names " + count + " files");
            }
            for (int i = 0; i < count; i++) {
                if (at < 0 || data.getInt(at) != ENTRY) {
                    throw new DemoException("its list of files is not where it should be");
                }
                int nameLength = data.getShort(at + 28) & 0xffff;
                String name = new String(bytes(at + 46, nameLength), StandardCharsets.UTF_8);
                int local = data.getInt(at + 42);
                if (local < 0 || data.getInt(local) != LOCAL) {
                    throw new DemoException(name + " is not where it should be");
                }
                int start = local + 30 + (data.getShort(local + 26) & 0xffff) + (data.getShort(local + 28) & 0xffff);
                entries.put(name, new Entry(name, data.getShort(at + 10), data.getInt(at + 16), data.getInt(at + 20),
                        data.getInt(at + 24), start));
                at += 46 + nameLength + (data.getShort(at + 30) & 0xffff) + (data.getShort(at + 32) & 0xffff);
            }
        } catch (IndexOutOfBoundsException exc) {
            throw new DemoException("it is cut short", exc);
        }
        return entries;
    }

    private int endRecord() {
        int last = data.limit() - END_SIZE;
        for (int at = last; at >= 0 && at >= last - 0xffff; at--) {
            // The comment's length must reach the end of the file: weights may hold the signature by chance.
            if (data.getInt(at) == END && (data.getShort(at + 20) & 0xffff) == last - at) {
                return at;
            }
        }
        return -1;
    }

    /** The bytes of a file that {@code fits}. Throws: DemoException with the reason, also for another checksum. */
    byte[] read(Entry entry) throws DemoException {
        byte[] bytes = bytes(entry.start, entry.stored);
        if (entry.method == DEFLATED) {
            bytes = inflated(entry, bytes);
        } else if (entry.method != STORED) {
            throw new DemoException(entry.name + " is compressed in an unknown way");
        }
        CRC32 crc = new CRC32();
        crc.update(bytes);
        if (bytes.length != entry.size || (int) crc.getValue() != entry.crc) {
            throw new DemoException(entry.name + " is damaged");
        }
        return bytes;
    }

    private static byte[] inflated(Entry entry, byte[] packed) throws DemoException {
        byte[] out = new byte[entry.size];
        Inflater inflater = new Inflater(true);
        try {
            inflater.setInput(packed);
            int count = 0;
            while (count < out.length) {
                int more = inflater.inflate(out, count, out.length - count);
                if (more == 0) {
                    break; // it ends early, or wants more than there is
                }
                count += more;
            }
            if (count < out.length) {
                throw new DemoException(entry.name + " is cut short");
            }
            return out;
        } catch (DataFormatException exc) {
            throw new DemoException(entry.name + " is damaged", exc);
        } finally {
            inflater.end();
        }
    }

    private byte[] bytes(int start, int length) throws DemoException {
        if (start < 0 || length < 0 || start > data.limit() - length) {
            throw new DemoException("it is cut short");
        }
        byte[] bytes = new byte[length];
        ByteBuffer view = data.duplicate();
        view.position(start);
        view.get(bytes);
        return bytes;
    }
}
