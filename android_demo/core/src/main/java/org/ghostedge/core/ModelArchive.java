package org.ghostedge.core;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;

/** Read the files that follow a .tflite model as a zip archive (ghostedge.tflite.metadata writes them, stored). */
public final class ModelArchive {
    private static final int MAX_FILE = 4 << 20;

    private ModelArchive() {}

    /** The text files behind {@code model} by their names; empty where there is no archive. Throws: damaged ones. */
    public static Map<String, String> files(ByteBuffer model) throws DemoException {
        Map<String, String> files = new LinkedHashMap<>();
        Zip zip = new Zip(model);
        try {
            for (Zip.Entry entry : zip.entries().values()) {
                if (entry.plain() && entry.fits(MAX_FILE)) {
                    files.put(entry.name, new String(zip.read(entry), StandardCharsets.UTF_8));
                }
            }
        } catch (DemoException exc) {
            throw new DemoException(
                    "the archive behind the model is damaged: " + exc.getMessage() + "; copy the model again", exc);
        }
        return files;
    }
}
