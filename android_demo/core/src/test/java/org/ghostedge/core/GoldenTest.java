package org.ghostedge.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import org.junit.Test;

/** What Python wrote is read to the bit; every damaged or hostile file is one line, and takes no memory. */
public class GoldenTest {
    private static final String U1 = "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 2, 3), }";
    private static final String F4 = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }";

    /** The arrays of a small good file; each test spoils one. */
    private static Map<String, byte[]> parts() {
        Map<String, byte[]> parts = new LinkedHashMap<>();
        parts.put("schema_version", npy("{'descr': '<i8', 'fortran_order': False, 'shape': (), }", longs(1)));
        parts.put("crops_u8", npy(U1, new byte[] {1, 2, 3, 4, 5, (byte) 255}));
        parts.put("logits", npy(F4, ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putFloat(1.5f)
                .putFloat(-2).array()));
        parts.put("names", npy("{'descr': '<U2', 'fortran_order': False, 'shape': (1,), }", text("a", 2)));
        parts.put("class_names", npy("{'descr': '<U1', 'fortran_order': False, 'shape': (0,), }", new byte[0]));
        parts.put("source_sha256", npy("{'descr': '<U3', 'fortran_order': False, 'shape': (), }", text("abc", 3)));
        return parts;
    }

    private static byte[] longs(long value) {
        return ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(value).array();
    }

    private static byte[] text(String text, int characters) {
        ByteBuffer out = ByteBuffer.allocate(4 * characters).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < text.length(); i++) {
            out.putInt(text.charAt(i));
        }
        return out.array();
    }

    private static byte[] npy(String header, byte[] data) {
        return npy(1, header, data);
    }

    private static byte[] npy(int version, String header, byte[] data) {
        byte[] text = (header + "\n").getBytes(StandardCharsets.UTF_8);
        int size = version == 1 ? 2 : 4;
        ByteBuffer out = ByteBuffer.allocate(8 + size + text.length + data.length).order(ByteOrder.LITTLE_ENDIAN);
        out.put(new byte[] {(byte) 0x93, 'N', 'U', 'M', 'P', 'Y', (byte) version, 0});
        if (version == 1) {
            out.putShort((short) text.length);
        } else {
            out.putInt(text.length);
        }
        return out.put(text).put(data).array();
    }

    private static byte[] zip(Map<String, byte[]> parts) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        try (ZipOutputStream zip = new ZipOutputStream(out)) {
            for (Map.Entry<String, byte[]> part : parts.entrySet()) {
                zip.putNextEntry(new ZipEntry(part.getKey() + ".npy"));
                zip.write(part.getValue());
            }
        }
        return out.toByteArray();
    }

    private static Golden read(byte[] file) throws DemoException {
        return Golden.read("/models/x.golden.npz", new ByteArrayInputStream(file));
    }

    private static void refused(byte[] file, String why) {
        try {
            read(file);
            fail(why);
        } catch (DemoException exc) {
            assertTrue(exc.getMessage(), exc.getMessage().contains(why));
            assertTrue(exc.getMessage(), exc.getMessage().startsWith("golden: /models/x.golden.npz "));
            assertFalse(exc.getMessage().contains("\n"));
        }
    }

    private static void refused(String part, byte[] content, String why) throws IOException {
        Map<String, byte[]> parts = parts();
        parts.put(part, content);
        refused(zip(parts), why);
    }

    @Test
    public void whatPythonWroteIsReadToTheBit() throws Exception {
        Map<String, Object> wanted = TestData.<Map<String, Object>>golden("golden_file").get(0);
        byte[] file = TestData.resource("linear.golden.npz");
        Golden golden = read(file);
        List<?> names = (List<?>) wanted.get("names");
        List<?> logits = (List<?>) wanted.get("logits");
        assertEquals(names.size(), golden.images());
        ByteArrayOutputStream crops = new ByteArrayOutputStream();
        for (int i = 0; i < golden.images(); i++) {
            assertEquals(names.get(i), golden.name(i));
            crops.write(golden.crop(i));
            List<?> row = (List<?>) logits.get(i);
            for (int k = 0; k < golden.classes; k++) {
                assertEquals(((Double) row.get(k)).floatValue(), golden.logits(i)[k], 0);
            }
        }
        assertEquals(wanted.get("crops"), ModelFile.sha256(ByteBuffer.wrap(crops.toByteArray())));
        assertEquals(wanted.get("source_sha256"), golden.sourceSha256);
        assertEquals(ModelFile.sha256(ByteBuffer.wrap(file)), golden.sha256);
        assertEquals("x.golden.npz", golden.file());
        assertEquals(8, golden.height);
        assertEquals(8, golden.width);
    }

    @Test
    public void aSmallFileOfEveryVersionAndIntegerIsRead() throws Exception {
        Map<String, byte[]> parts = parts();
        Golden golden = read(zip(parts));
        assertArrayEquals(new byte[] {1, 2, 3, 4, 5, (byte) 255}, golden.crop(0));
        assertArrayEquals(new float[] {1.5f, -2}, golden.logits(0), 0);
        assertEquals("a", golden.name(0));
        assertEquals("abc", golden.sourceSha256);
        parts.put("crops_u8", npy(2, U1.replace(", }", "}"), new byte[6]));
        parts.put("logits", npy(3, "{\"shape\":(1,2),\"fortran_order\":False,\"descr\":\"<f4\"}", new byte[8]));
        parts.put("schema_version", npy("{'descr': '<i4', 'fortran_order': False, 'shape': (), }", new byte[] {1, 0, 0, 0}));
        assertEquals(2, read(zip(parts)).classes);
        parts.put("schema_version", npy("{'descr': '|i1', 'fortran_order': False, 'shape': (), }", new byte[] {1}));
        parts.put("extra", "whatever".getBytes(StandardCharsets.UTF_8));
        assertEquals(2, read(zip(parts)).classes);
    }

    @Test
    public void theFileBesideAModelIsTheOneThatGhostedgeTakes() throws Exception {
        for (Map<String, Object> each : TestData.<Map<String, Object>>golden("beside")) {
            List<?> files = (List<?>) each.get("files");
            String found = Golden.beside((String) each.get("model"), files.toArray(new String[0]));
            assertEquals(files.toString(), each.get("golden"), found);
        }
        assertNull("a folder that cannot be listed", Golden.beside("m.tflite", null));
    }

    @Test
    public void whatIsNoGoldenFileIsNamed() throws Exception {
        refused(new byte[0], "is not a whole golden file (schema_version.npy is missing); copy it again");
        refused("<html>404</html>".getBytes(StandardCharsets.UTF_8), "is missing");
        for (String part : parts().keySet()) {
            Map<String, byte[]> parts = parts();
            parts.remove(part);
            refused(zip(parts), part + ".npy is missing");
            refused(part, new byte[0], part + ".npy: its header is cut short");
            refused(part, "not an array at all".getBytes(StandardCharsets.UTF_8), part + ".npy: it is no .npy");
        }
        byte[] two = npy("{'descr': '<i8', 'fortran_order': False, 'shape': (), }", longs(2));
        refused("schema_version", two, "has schema version 2, this app reads 1; use the app and the file of one");
    }

    @Test
    public void hostileHeadersAreRefused() throws Exception {
        String f4 = "{'descr': '<f4', 'fortran_order': False, 'shape': ";
        refused("logits", npy(F4.replace("<f4", "|O"), new byte[8]), "it holds Python objects");
        refused("logits", npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1, 2), }", new byte[8]),
                "it holds records");
        refused("logits", npy(F4.replace("<f4", ">f4"), new byte[8]), "its type >f4 is not read");
        refused("logits", npy(F4.replace("<f4", "<f8"), new byte[16]), "its type <f8 is not read");
        refused("logits", npy(F4.replace("<f4", "<i4"), new byte[8]), "logits is <i4");
        refused("crops_u8", npy(U1.replace("|u1", "|i1"), new byte[6]), "crops_u8 is |i1");
        refused("logits", npy(F4.replace("False", "True"), new byte[8]), "in Fortran's order");
        refused("logits", npy(F4, new byte[7]), "its shape [1, 2] of <f4 is not 7 bytes");
        refused("logits", npy(F4, new byte[9]), "is not 9 bytes");
        refused("logits", npy(f4 + "(999999999, 999999999, 999999999, 999999999, 999999999), }", new byte[8]),
                "is not 8 bytes");
        // Products that an int, or a long, would wrap around to the two values that are there.
        refused("logits", npy(f4 + "(6, 715827883), }", new byte[8]), "is not 8 bytes");
        refused("logits", npy(f4 + "(646623403, 40804522, 10487), }", new byte[8]), "is not 8 bytes");
        refused("logits", npy(f4 + "(536870912, 2, 2), }", new byte[0]), "is not 0 bytes");
        refused("logits", npy(f4 + "(99999999999, 1), }", new byte[8]), "its shape is absurd");
        refused("logits", npy(f4 + "(-1, 2), }", new byte[8]), "its shape is absurd");
        refused("logits", npy(f4 + "(1, 1, 1, 1, 1, 1, 1, 1, 2), }", new byte[8]), "its shape is absurd");
        refused("logits", npy(f4 + "2, }", new byte[8]), "its header is damaged");
        refused("logits", npy(f4 + "(1, 2), 'shape': (1, 2), }", new byte[8]), "its header is damaged");
        refused("logits", npy("{'descr': '<f4', 'shape': (1, 2), }", new byte[8]), "its header is damaged");
        refused("logits", npy(F4 + "__import__('os')", new byte[8]), "its header is damaged");
        refused("logits", npy(F4.replace("False", "exit()"), new byte[8]), "its header is damaged");
        refused("names", npy("{'descr': '<U0', 'fortran_order': False, 'shape': (999999999,), }", new byte[0]),
                "its type <U0 is not read");
        refused("names", npy("{'descr': '<U2x', 'fortran_order': False, 'shape': (1,), }", new byte[8]), "is not known");
        byte[] code = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putInt(0x7fffffff).array();
        refused("names", npy("{'descr': '<U2', 'fortran_order': False, 'shape': (1,), }", code), "a text of it is damaged");
        byte[] long4 = npy(2, F4, new byte[8]);
        ByteBuffer.wrap(long4).order(ByteOrder.LITTLE_ENDIAN).putInt(8, Integer.MAX_VALUE);
        refused("logits", long4, "its header is too long");
        byte[] version = npy(F4, new byte[8]);
        version[6] = 9;
        refused("logits", version, ".npy version 9.0 is not known");
    }

    @Test
    public void partsThatDoNotFitAreRefused() throws Exception {
        String head = "{'descr': '|u1', 'fortran_order': False, 'shape': ";
        refused("crops_u8", npy(head + "(2, 1, 1, 3), }", new byte[6]), "do not fit");
        refused("crops_u8", npy(head + "(1, 1, 3, 2), }", new byte[6]), "do not fit");
        refused("crops_u8", npy(head + "(6,), }", new byte[6]), "do not fit");
        refused("crops_u8", npy(head + "(), }", new byte[1]), "do not fit");
        refused("crops_u8", npy(head + "(0, 1, 1, 3), }", new byte[0]), "do not fit");
        refused("logits", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 0), }", new byte[0]), "do not fit");
        refused("names", npy("{'descr': '<U1', 'fortran_order': False, 'shape': (2,), }", new byte[8]), "do not fit");
        refused("source_sha256", npy("{'descr': '<U1', 'fortran_order': False, 'shape': (1,), }", new byte[4]),
                "source_sha256 has the shape [1]");
        byte[] nan = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putFloat(Float.NaN).array();
        refused("logits", npy(F4, nan), "logits hold NaN or infinity");
    }

    @Test
    public void whatSaysThatItIsHugeTakesNoMemory() throws Exception {
        byte[] file = zip(parts());
        ByteBuffer zip = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
        for (int at = 0; at < file.length - 46; at++) {
            if (zip.getInt(at) == 0x02014b50) {
                int size = zip.getInt(at + 24);
                for (int claim : new int[] {Integer.MAX_VALUE, -1, 65 << 20}) {
                    zip.putInt(at + 24, claim);
                    refused(file, "is too large");
                }
                zip.putInt(at + 24, size + 1);
                refused(file, "is cut short");
                zip.putInt(at + 24, size - 1);
                refused(file, "is damaged");
                zip.putInt(at + 24, size);
            }
        }
        assertEquals(1, read(file).images());
    }

    @Test
    public void everyCutAndEveryDamagedByteIsOneLineOrHarmless() throws Exception {
        byte[] whole = TestData.resource("linear.golden.npz");
        String names = read(whole).name(1);
        for (int length = 0; length < whole.length; length += 3) {
            refused(Arrays.copyOf(whole, length), "is not a whole golden file");
        }
        int harmless = 0;
        for (int at = 0; at < whole.length; at++) {
            for (int bit = 0; bit < 8; bit += 3) {
                byte[] damaged = whole.clone();
                damaged[at] ^= (byte) (1 << bit);
                try {
                    Golden golden = read(damaged);
                    harmless++; // times, flags and local sizes, which are not read
                    assertEquals(names, golden.name(1));
                    assertEquals(6, golden.images());
                } catch (DemoException exc) {
                    assertFalse(exc.getMessage().contains("\n"));
                    assertTrue(exc.getMessage(), exc.getMessage().startsWith("golden: "));
                }
            }
        }
        assertTrue("most are found: " + harmless, harmless < whole.length * 3 / 2);
    }
}
