package org.ghostedge.core;

import java.io.File;
import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;

/** A model's bytes, mapped, and their name. */
public final class ModelFile {
    public final String name;
    /** The whole file; position 0. */
    public final ByteBuffer bytes;

    /** Where it lies; null for one that lies in the APK. */
    public final File file;

    /**
     * A model.
     *
     * @throws DemoException for what is no TFLite model
     */
    public ModelFile(String name, File file, ByteBuffer bytes) throws DemoException {
        Description.check(name, bytes);
        this.name = name;
        this.file = file;
        this.bytes = bytes;
    }

    /** SHA-256, 64 hexadecimal digits. */
    public String sha256() {
        return sha256(bytes.duplicate());
    }

    static String sha256(ByteBuffer data) {
        try {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            data.clear();
            digest.update(data);
            StringBuilder hex = new StringBuilder();
            for (byte b : digest.digest()) {
                hex.append(Character.forDigit(b >> 4 & 15, 16)).append(Character.forDigit(b & 15, 16));
            }
            return hex.toString();
        } catch (NoSuchAlgorithmException exc) {
            throw new IllegalStateException(exc); // every Java platform has SHA-256
        }
    }
}
