package org.ghostedge.core;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Read the files that follow a .tflite model as a zip archive (ghostedge.tflite.metadata writes them, stored).
 *
 * <p>java.util.zip.ZipFile cannot: Android's refuses a file that does not begin with an entry, and a model that is
 * mapped from the APK is no file of its own. Everything is read by absolute index; the buffer's position stays.
 */
public final class ModelArchive {
    private static final int END = 0x06054b50;
    private static final int ENTRY = 0x02014b50;
    private static final int LOCAL = 0x04034b50;
    private static final int END_SIZE = 22;
    private static final int MAX_ENTRIES = 64;
    private static final int MAX_FILE = 4 << 20;

    private ModelArchive() {}

    /** The text files behind {@code model} by their names; empty where there is no archive. Throws: damaged ones. */
    public static Map<String, String> files(ByteBuffer model) throws DemoException {
        ByteBuffer data = model.duplicate();
        data.clear();
        data.order(ByteOrder.LITTLE_ENDIAN);
        Map<String, String> files = new LinkedHashMap<>();
        int end = endRecord(data);
        if (end < 0) {
            return files;
        }
        try {
            int count = data.getShort(end + 10) & 0xffff;
            int at = data.getInt(end + 16);
            if (count > MAX_ENTRIES) {
                throw damaged("it names " + count + " files");
            }
            for (int i = 0; i < count; i++) {
                if (at < 0 || data.getInt(at) != ENTRY) {
                    throw damaged("its list of files is not where it should be");
                }
                int method = data.getShort(at + 10);
                int stored = data.getInt(at + 20);
                int nameLength = data.getShort(at + 28) & 0xffff;
                int extra = data.getShort(at + 30) & 0xffff;
                int comment = data.getShort(at + 32) & 0xffff;
                int local = data.getInt(at + 42);
                String name = text(data, at + 46, nameLength);
                if (local < 0 || data.getInt(local) != LOCAL) {
                    throw damaged(name + " is not where it should be");
                }
                if (method == 0 && stored >= 0 && stored <= MAX_FILE) {
                    int start = local + 30 + (data.getShort(local + 26) & 0xffff) + (data.getShort(local + 28) & 0xffff);
                    files.put(name, text(data, start, stored));
                }
                at += 46 + nameLength + extra + comment;
            }
        } catch (IndexOutOfBoundsException exc) {
            throw damaged("it is cut short");
        }
        return files;
    }

    private static int endRecord(ByteBuffer data) {
        int last = data.limit() - END_SIZE;
        for (int at = last; at >= 0 && at >= last - 0xffff; at--) {
            // The comment's length must reach the end of the file: weights may hold the signature by chance.
            if (data.getInt(at) == END && (data.getShort(at + 20) & 0xffff) == last - at) {
                return at;
            }
        }
        return -1;
    }

    private static String text(ByteBuffer data, int start, int length) throws DemoException {
        if (start < 0 || length < 0 || start > data.limit() - length) {
            throw damaged("it is cut short");
        }
        byte[] bytes = new byte[length];
        ByteBuffer view = data.duplicate();
        view.position(start);
        view.get(bytes);
        return new String(bytes, StandardCharsets.UTF_8);
    }

    private static DemoException damaged(String why) {
        return new DemoException("the archive behind the model is damaged: " + why + "; copy the model again");
    }
}
