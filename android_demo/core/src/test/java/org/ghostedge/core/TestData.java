package org.ghostedge.core;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.List;
import java.util.Map;

/** What the tests share: the golden files that Python wrote, pictures by their rule, a folder for what Python reads. */
final class TestData {
    private TestData() {}

    static byte[] resource(String name) throws IOException {
        try (InputStream stream = TestData.class.getResourceAsStream("/" + name)) {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            byte[] block = new byte[8192];
            int count;
            while ((count = stream.read(block)) > 0) {
                out.write(block, 0, count);
            }
            return out.toByteArray();
        }
    }

    @SuppressWarnings("unchecked")
    static <T> List<T> golden(String part) throws Exception {
        String text = new String(resource("golden.json"), StandardCharsets.UTF_8);
        return (List<T>) Json.parseObject(text).get(part);
    }

    static ModelFile linear() throws Exception {
        return new ModelFile("linear_described.tflite", null, ByteBuffer.wrap(resource("linear_described.tflite")));
    }

    static Golden linearGolden() throws Exception {
        return Golden.read("linear.golden.npz", ByteBuffer.wrap(resource("linear.golden.npz")));
    }

    /** Byte i is the upper 8 of the 32 bits of i * 2654435761, as tests/android_demo/make_golden.py makes them. */
    static byte[] picture(int width, int height) {
        byte[] data = new byte[3 * width * height];
        for (int i = 0; i < data.length; i++) {
            data[i] = (byte) (i * 0x9e3779b1 >>> 24);
        }
        return data;
    }

    static int integer(Map<String, Object> map, String name) {
        return ((Long) map.get(name)).intValue();
    }

    static InputSpec spec(int resize, int height, int width) throws DemoException {
        return InputSpec.fromJson(Json.parseObject("{\"layout\":\"NHWC\",\"resize\":" + resize + ",\"height\":"
                + height + ",\"width\":" + width + "}"));
    }

    /** Where Python looks for what the tests wrote: -Dghostedge.out=FOLDER. */
    static File out() throws IOException {
        String folder = System.getProperty("ghostedge.out");
        return folder != null ? new File(folder) : Files.createTempDirectory("ghostedge").toFile();
    }
}
