package org.ghostedge.core;

import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/** Write a file whole or not at all: beside its place, then renamed into it. */
public final class WholeFile {
    private WholeFile() {}

    /** The name a file has while it is written. */
    public static File partial(File file) {
        return new File(file.getParentFile(), ".partial-" + file.getName());
    }

    /** Writes text as UTF-8; makes the folder. Throws: DemoException (a full storage). */
    public static void write(File file, String text) throws DemoException {
        File partial = partial(file);
        try {
            folder(file.getParentFile());
            try (FileOutputStream stream = new FileOutputStream(partial)) {
                stream.write(text.getBytes(StandardCharsets.UTF_8));
                stream.getFD().sync();
            }
            if (!partial.renameTo(file)) {
                throw new IOException("it cannot be renamed");
            }
        } catch (IOException exc) {
            partial.delete();
            throw failed(file, exc);
        }
    }

    /** Makes a folder and those above it. */
    static void folder(File folder) throws IOException {
        if (!folder.isDirectory() && !folder.mkdirs() && !folder.isDirectory()) {
            throw new IOException("the folder cannot be made");
        }
    }

    static DemoException failed(File file, IOException exc) {
        return new DemoException("cannot write " + file + ": " + exc.getMessage() + "; free some storage", exc);
    }
}
