package org.ghostedge.core;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Whether a model gives the right answers here: asked at its first load, before an answer is shown, and remembered.
 *
 * <p>What is remembered is of one model file, library, version, setting and system; with another of these it is asked
 * again. What was cut off is not remembered.
 */
public final class AnswerCheck {
    /** Of settings that were tried; the longest ago goes first. */
    private static final int MOST = 64;

    private final File file;
    private final String key;

    /**
     * The check of one model with one setting.
     *
     * @param file what is remembered, of all models; where it is missing or damaged, nothing is
     * @param system the operating system's build: an update brings other drivers
     */
    public AnswerCheck(File file, ModelFile model, EngineFactory engines, EngineSettings settings, String system) {
        this.file = file;
        key = model.sha256() + " " + engines.name() + " " + engines.version() + " " + settings.label() + " " + system;
    }

    /** What was found earlier; null where nothing was. */
    public Verdict known() {
        return Verdict.fromJson(all().get(key));
    }

    /** Asks again at the next load. */
    public void forget() {
        Map<String, Object> all = all();
        all.remove(key);
        write(all);
    }

    /**
     * Asks golden pictures, by the rules of a record's {@code verification} but for at most some seconds.
     *
     * @param engine just loaded
     * @throws DemoException cancelled, golden vectors of another model, or an engine that fails
     */
    public Verdict run(Golden golden, ModelFile model, Description description, Engine engine, Bounds bounds,
            Timer.Clock clock, Cancellation cancellation, Progress progress) throws DemoException {
        Verification verification = new Verification(golden, model.name, description, engine);
        verification.first(
                bounds, new Timer(clock, cancellation), cancellation, progress, Verification.Effort.FIRST_LOOK);
        Verdict verdict = verification.verdict();
        Map<String, Object> all = all();
        all.remove(key);
        while (all.size() >= MOST) {
            all.remove(all.keySet().iterator().next());
        }
        all.put(key, verdict.toJson());
        write(all);
        return verdict;
    }

    private Map<String, Object> all() {
        try (InputStream stream = new FileInputStream(file)) {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            byte[] block = new byte[1 << 13];
            int count;
            while ((count = stream.read(block)) > 0) {
                out.write(block, 0, count);
            }
            return new LinkedHashMap<>(Json.parseObject(new String(out.toByteArray(), StandardCharsets.UTF_8)));
        } catch (IOException | DemoException exc) {
            return new LinkedHashMap<>();
        }
    }

    private void write(Map<String, Object> all) {
        try {
            WholeFile.write(file, Json.write(all) + "\n");
        } catch (DemoException exc) {
            file.delete(); // a full storage: rather asked again than told what was found before
        }
    }
}
