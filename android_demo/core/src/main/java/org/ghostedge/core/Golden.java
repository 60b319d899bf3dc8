package org.ghostedge.core;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Golden vectors: pictures as a model takes them, with the answers that MindSpore gave; ghostedge.data.golden in Java.
 *
 * <p>The file NAME.golden.npz lies beside the artifacts of a {@code ghostedge export}.
 */
public final class Golden {
    public static final String SUFFIX = ".golden.npz";

    private static final int SCHEMA_VERSION = 1;
    /** 32 pictures of 224 x 224 have 5 MB; what is much larger is refused before memory is taken for it. */
    private static final int MAX_FILE = 64 << 20;

    private static final int MAX_PICTURES = 64 << 20;
    private static final int MAX_ARRAY = 32 << 20;
    /** The arrays and how NumPy's names of their types begin, after the byte order. */
    private static final String[][] ARRAYS = {
        {"schema_version", "i"}, {"crops_u8", "u1"}, {"logits", "f4"}, {"names", "U"}, {"class_names", "U"},
        {"source_sha256", "U"},
    };

    /** The path or name that messages tell. */
    public final String path;

    public final String sha256;
    public final int height;
    public final int width;
    public final int classes;
    /** Of the checkpoint or MindIR whose answers these are. */
    public final String sourceSha256;

    private final byte[] crops;
    private final float[] logits;
    private final String[] names;

    /** Parts that fit together: the numbers are counted by {@link #read}. */
    Golden(String path, String sha256, int height, int width, byte[] crops, float[] logits, String[] names,
            String sourceSha256) {
        this.path = path;
        this.sha256 = sha256;
        this.height = height;
        this.width = width;
        this.classes = logits.length / names.length;
        this.crops = crops;
        this.logits = logits;
        this.names = names;
        this.sourceSha256 = sourceSha256;
    }

    /**
     * Reads a golden file to its end; the caller closes it.
     *
     * @param path what messages tell
     * @throws DemoException for whatever is no whole golden file, in one line
     */
    public static Golden read(String path, InputStream stream) throws DemoException {
        try {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            byte[] block = new byte[1 << 16];
            int count;
            while ((count = stream.read(block)) > 0) {
                out.write(block, 0, count);
                if (out.size() > MAX_FILE) {
                    throw broken(path, "it has more than " + (MAX_FILE >> 20) + " MiB");
                }
            }
            return read(path, ByteBuffer.wrap(out.toByteArray()));
        } catch (IOException exc) {
            throw broken(path, String.valueOf(exc.getMessage()));
        }
    }

    static Golden read(String path, ByteBuffer file) throws DemoException {
        Map<String, Npy> arrays;
        long version;
        try {
            arrays = arrays(file);
            version = scalar("schema_version", arrays).integer();
        } catch (DemoException exc) {
            throw broken(path, exc.getMessage());
        }
        if (version != SCHEMA_VERSION) {
            throw new DemoException("golden: " + path + " has schema version " + version + ", this app reads "
                    + SCHEMA_VERSION + "; use the app and the file of one ghostedge");
        }
        try {
            return of(path, file, arrays);
        } catch (DemoException exc) {
            throw broken(path, exc.getMessage());
        }
    }

    /** Every array of the file. Throws: DemoException with the reason, as the next two do. */
    private static Map<String, Npy> arrays(ByteBuffer file) throws DemoException {
        Map<String, Npy> arrays = new LinkedHashMap<>();
        Zip zip = new Zip(file);
        Map<String, Zip.Entry> entries = zip.entries();
        for (String[] each : ARRAYS) {
            Zip.Entry entry = entries.get(each[0] + ".npy");
            if (entry == null) {
                throw new DemoException(each[0] + ".npy is missing");
            }
            if (!entry.fits(each[0].equals("crops_u8") ? MAX_PICTURES : MAX_ARRAY)) {
                throw new DemoException(each[0] + ".npy is too large");
            }
            Npy array;
            byte[] npy = zip.read(entry);
            try {
                array = new Npy(npy);
            } catch (DemoException exc) {
                throw new DemoException(each[0] + ".npy: " + exc.getMessage(), exc);
            }
            if (!array.dtype.startsWith(each[1], 1)) {
                throw new DemoException(each[0] + " is " + array.dtype);
            }
            arrays.put(each[0], array);
        }
        return arrays;
    }

    private static Npy scalar(String name, Map<String, Npy> arrays) throws DemoException {
        Npy array = arrays.get(name);
        if (array.shape.length != 0) {
            throw new DemoException(name + " has the shape " + Arrays.toString(array.shape));
        }
        return array;
    }

    private static Golden of(String path, ByteBuffer file, Map<String, Npy> arrays) throws DemoException {
        Npy crops = arrays.get("crops_u8");
        Npy logits = arrays.get("logits");
        Npy names = arrays.get("names");
        int count = crops.shape.length > 0 ? crops.shape[0] : 0;
        boolean fit = crops.shape.length == 4 && crops.shape[3] == 3 && logits.shape.length == 2 && count > 0
                && logits.shape[0] == count && logits.shape[1] > 0 && names.shape.length == 1 && names.shape[0] == count;
        if (!fit) {
            throw new DemoException("crops " + Arrays.toString(crops.shape) + " and logits "
                    + Arrays.toString(logits.shape) + " do not fit");
        }
        float[] answers = logits.floats();
        for (float value : answers) {
            if (Float.isNaN(value) || Float.isInfinite(value)) {
                throw new DemoException("logits hold NaN or infinity");
            }
        }
        return new Golden(path, ModelFile.sha256(file.duplicate()), crops.shape[1], crops.shape[2], crops.bytes(),
                answers, names.texts(), scalar("source_sha256", arrays).texts()[0]);
    }

    private static DemoException broken(String path, String reason) {
        return new DemoException("golden: " + path + " is not a whole golden file (" + reason
                + "); copy it again, or run ghostedge export again");
    }

    /**
     * The golden file of a model's export among the files of its folder; null where none is clearly its own.
     *
     * <p>Of several that whose name the model's begins with, the longest such: golden_beside() of ghostedge.
     */
    public static String beside(String model, String[] files) {
        String own = null;
        String any = null;
        int count = 0;
        for (String file : files == null ? new String[0] : files) {
            if (file.endsWith(SUFFIX) && !file.startsWith(".")) {
                count++;
                any = file;
                String name = file.substring(0, file.length() - SUFFIX.length());
                own = model.startsWith(name) && (own == null || file.length() > own.length()) ? file : own;
            }
        }
        return own != null ? own : count == 1 ? any : null;
    }

    /** How many pictures there are; at least one. */
    public int images() {
        return names.length;
    }

    /** The file's name, without its folder. */
    String file() {
        return path.substring(path.lastIndexOf('/') + 1);
    }

    String name(int index) {
        return names[index];
    }

    /** One picture: uint8 (height, width, 3), RGB. */
    byte[] crop(int index) {
        int size = 3 * height * width;
        return Arrays.copyOfRange(crops, index * size, (index + 1) * size);
    }

    /** MindSpore's answer to a picture. */
    float[] logits(int index) {
        return Arrays.copyOfRange(logits, index * classes, (index + 1) * classes);
    }

    /**
     * Why these are no golden vectors for a model; null where they are.
     *
     * @param classes of the model
     */
    String misfit(String model, Description description, int classes) {
        String wanted = description.sourceSha256;
        if (!wanted.isEmpty() && !wanted.equals(sourceSha256)) {
            return "golden: " + path + " has the answers of the source " + head(sourceSha256) + ", " + model
                    + " was made from " + head(wanted) + ": give the golden file of its own export; where that export was"
                    + " made anew since, copy both again";
        }
        InputSpec input = description.input;
        if (height != input.height || width != input.width) {
            return "golden: " + path + " holds pictures of " + height + " x " + width + ", " + model + " takes "
                    + input.height + " x " + input.width + ": give the golden file of its own export";
        }
        if (this.classes != classes) {
            return "golden: " + path + " has answers of " + this.classes + " classes, " + model + " gives " + classes
                    + ": give the golden file of its own export";
        }
        return null;
    }

    private static String head(String sha256) {
        return sha256.substring(0, Math.min(12, sha256.length()));
    }
}
