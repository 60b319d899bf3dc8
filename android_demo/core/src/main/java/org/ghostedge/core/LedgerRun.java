package org.ghostedge.core;

import java.io.BufferedReader;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Evaluate images and write a ledger as JSON Lines, which ghostedge.evaluation.jsonl reads.
 *
 * <p>The first line says where the numbers come from, each further one is an image, sorted by image_id, and the last one
 * holds the SHA-256 of all bytes before it. While it grows it has another name, and its rows reach the storage every few images; the same run goes on where a killed one stopped.
 */
public final class LedgerRun {
    /** Rows that a kill can cost. */
    private static final int FLUSH_ROWS = 16;

    /** Gives the pixels of a file. */
    public interface Decoder {
        /** Throws: DemoException, the reason in the row, for a file that cannot be decoded. */
        Pixels decode(File file) throws DemoException;
    }

    private final List<ImageFolder.Item> images;
    private final Classifier classifier;
    private final Decoder decoder;
    private final boolean keepLogits;
    private final String header;
    private int labelled;
    private int right;

    /**
     * @param host machine, system, cpu, ... of the phone: texts
     * @param runtime what {@link #runtime} gives
     */
    public LedgerRun(ModelFile model, Description description, List<ImageFolder.Item> images, Classifier classifier,
            Decoder decoder, boolean keepLogits, Map<String, Object> host, Map<String, Object> runtime) {
        this.images = images;
        this.classifier = classifier;
        this.decoder = decoder;
        this.keepLogits = keepLogits;
        this.header = header(model, description, host, runtime);
    }

    /** What ran the model, as a ledger says it. */
    public static Map<String, Object> runtime(EngineFactory engines, EngineSettings settings, String precision) {
        Map<String, Object> runtime = new LinkedHashMap<>();
        runtime.put("name", engines.name());
        runtime.put("version", engines.version());
        runtime.put("accelerator", settings.accelerator());
        runtime.put("threads", settings.threads);
        runtime.put("xnnpack", settings.xnnpackOnCpu());
        runtime.put("inference_precision", precision);
        return runtime;
    }

    private String header(ModelFile model, Description description, Map<String, Object> host,
            Map<String, Object> runtime) {
        Map<String, Object> file = new LinkedHashMap<>();
        file.put("file", model.name);
        file.put("sha256", model.sha256());
        file.put("format", "tflite");
        file.put("precision", description.precision == null ? "unknown" : description.precision);
        StringBuilder ids = new StringBuilder();
        for (int i = 0; i < images.size(); i++) {
            ids.append(i == 0 ? "" : "\n").append(images.get(i).id);
        }
        Map<String, Object> dataset = new LinkedHashMap<>();
        dataset.put("images", images.size());
        dataset.put("ids_sha256",
                ModelFile.sha256(ByteBuffer.wrap(ids.toString().getBytes(StandardCharsets.UTF_8))));
        Map<String, Object> metadata = new LinkedHashMap<>();
        metadata.put("schema_version", 1);
        metadata.put("model", file);
        metadata.put("input", description.input.toJson());
        metadata.put("preprocessing", description.input.resizeRule);
        metadata.put("runtime", runtime);
        metadata.put("device", "gpu".equals(runtime.get("accelerator")) ? "GPU" : "CPU");
        metadata.put("host", host);
        metadata.put("classes", classifier.prediction.logits.length);
        metadata.put("dataset", dataset);
        metadata.put("is_reference", false);
        metadata.put("checkpoint_sha256", null);
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("kind", "ledger");
        out.put("has_logits", keepLogits);
        out.put("metadata", metadata);
        return Json.write(out);
    }

    /**
     * Runs every image that has no row yet and gives the ledger its name.
     *
     * @param ledger ends in {@code .jsonl}
     * @throws DemoException cancelled (what is done is kept), a full storage, an interpreter that fails
     */
    public void run(File ledger, Cancellation cancellation, Progress progress) throws DemoException {
        File partial = WholeFile.partial(ledger);
        try {
            WholeFile.folder(ledger.getParentFile());
            int done = resume(partial);
            try (FileOutputStream stream = new FileOutputStream(partial, true)) {
                StringBuilder text = new StringBuilder();
                if (done < 0) {
                    text.append(header).append('\n');
                    done = 0;
                }
                for (int i = done; i < images.size(); i++) {
                    if (cancellation.cancelled() || (i - done) % FLUSH_ROWS == 0) {
                        flush(stream, text);
                    }
                    cancellation.check();
                    row(images.get(i), text);
                    progress.progress(accuracy(), i + 1, images.size());
                }
                flush(stream, text);
                stream.write(end(partial).getBytes(StandardCharsets.UTF_8));
                stream.getFD().sync();
            }
            if (!partial.renameTo(ledger)) {
                throw new IOException("it cannot be renamed");
            }
        } catch (IOException exc) {
            throw WholeFile.failed(ledger, exc);
        }
    }

    /** The last line: the checksum of what is there, also of what a killed run left. */
    private static String end(File partial) throws IOException {
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("kind", "end");
        try (FileInputStream input = new FileInputStream(partial)) {
            FileChannel channel = input.getChannel();
            out.put("sha256", ModelFile.sha256(channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size())));
        }
        return Json.write(out) + "\n";
    }

    private static void flush(FileOutputStream stream, StringBuilder text) throws IOException {
        if (text.length() > 0) {
            stream.write(text.toString().getBytes(StandardCharsets.UTF_8));
            stream.getFD().sync();
            text.setLength(0);
        }
    }

    /** How far a killed run of this header came: its rows; what follows its last whole row is cut off. -1: no such. */
    private int resume(File partial) throws IOException {
        if (!partial.isFile()) {
            return -1;
        }
        long whole = 0;
        int rows = -1;
        try (BufferedReader reader = new BufferedReader(
                new InputStreamReader(new FileInputStream(partial), StandardCharsets.UTF_8))) {
            long total = partial.length();
            String line;
            while ((line = reader.readLine()) != null) {
                long next = whole + line.getBytes(StandardCharsets.UTF_8).length + 1;
                boolean good = next <= total && (rows < 0 ? line.equals(header) : isRow(line, rows));
                if (!good) {
                    break;
                }
                whole = next;
                rows++;
            }
        }
        try (RandomAccessFile file = new RandomAccessFile(partial, "rw")) {
            file.setLength(whole);
        }
        return rows;
    }

    /** Whether a line is the row of image {@code index}; its answer is counted. */
    private boolean isRow(String line, int index) {
        try {
            Map<String, Object> row = Json.parseObject(line);
            if (index >= images.size() || !images.get(index).id.equals(row.get("image_id"))) {
                return false;
            }
            Object first = ((List<?>) row.get("top5_class")).get(0);
            count(images.get(index).label, ((Long) first).intValue());
            return true;
        } catch (DemoException | RuntimeException exc) {
            return false;
        }
    }

    private void row(ImageFolder.Item image, StringBuilder out) throws DemoException {
        String error = null;
        Pixels pixels = null;
        try {
            pixels = decoder.decode(image.file);
        } catch (DemoException exc) {
            error = exc.getMessage();
        }
        Prediction prediction = classifier.prediction;
        if (pixels != null) {
            classifier.classify(pixels);
            error = prediction.finite() ? null : "the model's logits hold NaN or infinity";
        }
        boolean known = image.label >= 0 && error == null;
        Map<String, Object> row = new LinkedHashMap<>();
        row.put("image_id", image.id);
        row.put("label", image.label);
        row.put("top5_class", error == null ? prediction.topClass : new int[] {-1, -1, -1, -1, -1});
        row.put("top5_logit", error == null ? prediction.topLogit : new float[] {
            Float.NaN, Float.NaN, Float.NaN, Float.NaN, Float.NaN
        });
        row.put("label_logit", known ? Float.valueOf(prediction.logits[image.label]) : null);
        row.put("log_sum_exp", error == null ? Float.valueOf((float) prediction.logSumExp()) : null);
        if (keepLogits) {
            row.put("logits", error == null ? prediction.logits : null);
        }
        row.put("error", error);
        Json.write(row, out);
        out.append('\n');
        count(image.label, error == null ? prediction.topClass[0] : -1);
    }

    private void count(int label, int best) {
        labelled += label >= 0 ? 1 : 0;
        right += label >= 0 && label == best ? 1 : 0;
    }

    private String accuracy() {
        return labelled == 0 ? "images" : String.format(java.util.Locale.ROOT, "images, top-1 %.2f%% of %d",
                100.0 * right / labelled, labelled);
    }
}
