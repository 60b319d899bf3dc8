package org.ghostedge.core;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Measure one model with one setting and give the latency record, the same as benchmarks/edge_benchmark.py writes.
 *
 * <p>A sample is: copy the input tensor in, infer, copy the output tensor out; one picture. Whether the answers are
 * right is checked before the timer starts, where there are golden vectors, on the engine that is timed afterwards.
 */
public final class Benchmark {
    private final EngineFactory engines;
    private final Conditions conditions;
    private final Timer.Clock clock;
    private final String appVersion;
    private final Cancellation cancellation;
    private final Progress progress;

    public Benchmark(EngineFactory engines, Conditions conditions, Timer.Clock clock, String appVersion,
            Cancellation cancellation, Progress progress) {
        this.engines = engines;
        this.conditions = conditions;
        this.clock = clock;
        this.appVersion = appVersion;
        this.cancellation = cancellation;
        this.progress = progress;
    }

    /**
     * Runs the job.
     *
     * @param golden null for none; those that only lie beside the model, not asked for by name, may be another model's
     * @return a latency record, or of a job that only verifies a verification record
     * @throws DemoException it is cancelled, the model fails, or the golden vectors asked for are another model's
     */
    public Map<String, Object> run(BenchmarkJob job, ModelFile model, Golden golden) throws DemoException {
        // A GPU may be right at its first inference only, or never: its time counts with checked answers alone.
        if (mustVerify(job) && golden == null) {
            throw new DemoException((job.verify ? "mode verify" : "the GPU") + " needs golden pictures: push NAME"
                    + Golden.SUFFIX + " of the model's export beside it, or name one, where several lie there: --es golden PATH");
        }
        Double rssBefore = conditions.memoryMib("VmRSS");
        Map<String, Object> before = conditions.snapshot();
        progress.progress("loading", 0, 0);
        Timer timer = new Timer(clock, cancellation);
        long started = timer.now();
        try (Engine engine = engines.load(model, job.settings)) {
            double loadMs = 1e3 * timer.since(started);
            Double rssLoaded = conditions.memoryMib("VmRSS");
            Description description = Description.of(model.name, model.bytes, engine.input().shape);
            Bounds bounds = Bounds.of(description, conditions.inferencePrecision(model, job.settings));
            Verification verification = verification(job, model, golden, description, engine);
            if (verification != null) {
                verification.first(bounds, timer, cancellation, progress, Verification.Effort.RECORD);
            }
            if (job.verify) {
                Map<String, Object> record = head(job, model, description);
                record.put("verification", verification.record());
                record.put("load_ms", Summary.rounded(loadMs, 3));
                record.put("first_ms", Summary.rounded(verification.firstMs(), 4));
                return record;
            }
            Map<String, Object> measured = measure(job, description, engine, timer, before, verification);
            Map<String, Object> memory = new LinkedHashMap<>();
            memory.put("rss_before_mib", rssBefore);
            memory.put("rss_loaded_mib", rssLoaded);
            memory.put("rss_peak_mib", conditions.memoryMib("VmHWM"));
            return complete(head(job, model, description), measured, Summary.rounded(loadMs, 3), memory);
        }
    }

    private static boolean mustVerify(BenchmarkJob job) {
        return job.verify || job.settings.gpu;
    }

    /** Null where there are no golden vectors for this model. */
    private static Verification verification(BenchmarkJob job, ModelFile model, Golden golden,
            Description description, Engine engine) throws DemoException {
        boolean asked = mustVerify(job) || job.golden != null;
        int classes = new Prediction(engine.output()).logits.length;
        boolean none = golden == null || (!asked && golden.misfit(model.name, description, classes) != null);
        return none ? null : new Verification(golden, model.name, description, engine);
    }

    private Map<String, Object> measure(BenchmarkJob job, Description description, final Engine engine, Timer timer,
            Map<String, Object> before, Verification verification) throws DemoException {
        final ByteBuffer tensor = noise(description, engine);
        final Prediction prediction = new Prediction(engine.output());
        Timer.Run run = new Timer.Run() {
            @Override
            public void run() throws DemoException {
                engine.run(tensor);
            }
        };
        double firstMs = verification == null ? timer.sampleMs(run) : verification.firstMs();
        progress.progress("warming up", 0, 0);
        Map<String, Object> warmup = timer.warmUp(run, job.windowSeconds(), job.warmupLimitSeconds());
        progress.progress("s, timing", 0, (int) Math.ceil(job.minSeconds()));
        final List<Object> during = new ArrayList<>();
        final int total = (int) Math.ceil(job.minSeconds());
        double[] work = conditions.work();
        Timer.Samples samples = timer.collect(run, job.minSamples(), job.minSeconds(), new Timer.Watch() {
            @Override
            public void watch(double seconds) {
                during.add(conditions.glance(seconds));
                progress.progress("s, timing", Math.min(total, (int) seconds), total);
            }
        }, Double.POSITIVE_INFINITY);
        Double otherCores = conditions.otherCores(work, samples.seconds);
        Map<String, Object> after = conditions.snapshot();
        double overheadUs = timer.overheadUs();
        Map<String, Object> sustained = job.sustainedMinutes > 0 ? sustain(run, job.sustainedMinutes, timer) : null;
        prediction.set(engine.run(tensor));
        if (verification != null) {
            verification.again();
        }
        Map<String, Object> context = new LinkedHashMap<>();
        context.put("before", before);
        context.put("during", during);
        context.put("after", after);
        context.put("other_cores", otherCores);
        double[] rounded = new double[samples.ms.length];
        for (int i = 0; i < rounded.length; i++) {
            rounded[i] = Summary.rounded(samples.ms[i], 6);
        }
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("verification", verification == null ? null : verification.record());
        out.put("input", describeInput(engine));
        out.put("output", describeOutput(engine, prediction));
        out.put("first_ms", Summary.rounded(firstMs, 4));
        out.put("warmup", warmup);
        out.put("duration_s", Summary.rounded(samples.seconds, 3));
        out.put("latency_ms", Summary.of(samples.ms));
        out.put("samples_ms", rounded);
        out.put("overhead_us", Summary.rounded(overheadUs, 3));
        out.put("sustained", sustained);
        out.put("context", context);
        return out;
    }

    /** Reproducible input in the range that pictures have: every byte by a rule, through the model's own encoding. */
    private static ByteBuffer noise(Description description, Engine engine) throws DemoException {
        byte[] crop = new byte[3 * description.input.height * description.input.width];
        for (int i = 0; i < crop.length; i++) {
            crop[i] = (byte) (i * 0x9e3779b1 >>> 24); // 2654435761, Knuth's multiplicative hash
        }
        InputEncoder encoder = new InputEncoder(description.input, engine.input());
        encoder.encode(crop);
        return encoder.tensor();
    }

    /** Goes on for minutes and says how fast each stretch was, as edge_benchmark.py's sustain() does. */
    private Map<String, Object> sustain(Timer.Run run, int minutes, Timer timer) throws DemoException {
        double stretch = Math.max(5.0, minutes);
        List<Object> curve = new ArrayList<>();
        List<Double> medians = new ArrayList<>();
        long started = timer.now();
        while (timer.since(started) < 60.0 * minutes) {
            double left = Math.max(0.0, 60.0 * minutes - timer.since(started));
            double[] samples = timer.collect(run, 1, Math.min(stretch, left), null, Double.POSITIVE_INFINITY).ms;
            Map<String, Object> point = conditions.glance(timer.since(started));
            Map<String, Object> summary = Summary.of(samples);
            point.put("samples", samples.length);
            point.put("p50_ms", summary.get("p50"));
            point.put("p90_ms", summary.get("p90"));
            curve.add(point);
            medians.add((Double) summary.get("p50"));
            progress.progress("s, sustained", (int) timer.since(started), 60 * minutes);
        }
        double[] values = new double[medians.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = medians.get(i);
        }
        int tenth = Math.max(1, values.length / 10);
        double first = Summary.median(values, 0, tenth);
        double last = Summary.median(values, values.length - tenth, values.length);
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("minutes", minutes);
        out.put("stretch_s", stretch);
        out.put("last_to_first", first > 0 ? Double.valueOf(Summary.rounded(last / first, 4)) : null);
        out.put("after", conditions.snapshot());
        out.put("curve", curve);
        return out;
    }

    private static Map<String, Object> describeInput(Engine engine) {
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("shape", engine.input().shape);
        out.put("dtype", engine.input().dtype());
        out.put("source", "noise");
        return out;
    }

    private static Map<String, Object> describeOutput(Engine engine, Prediction prediction) {
        List<Object> top = new ArrayList<>();
        for (int i = 0; i < Prediction.TOP && prediction.finite() && prediction.topClass[i] >= 0; i++) {
            Map<String, Object> entry = new LinkedHashMap<>();
            entry.put("index", prediction.topClass[i]);
            entry.put("value", Summary.rounded(prediction.topLogit[i], 6));
            top.add(entry);
        }
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("shape", engine.output().shape);
        out.put("finite", prediction.finite());
        out.put("top5", top);
        return out;
    }

    /** What both kinds of record begin with: which program, model, device, settings and runtime. */
    private Map<String, Object> head(BenchmarkJob job, ModelFile model, Description description) {
        String sha256 = model.sha256();
        Map<String, Object> program = new LinkedHashMap<>();
        program.put("program", "ghostedge Android demo");
        program.put("version", appVersion);
        program.put("sha256", null);
        Map<String, Object> file = new LinkedHashMap<>();
        file.put("file", model.name);
        file.put("sha256", sha256);
        List<Object> files = new ArrayList<>();
        files.add(file);
        Map<String, Object> artifact = new LinkedHashMap<>();
        artifact.put("file", model.name);
        artifact.put("format", "tflite");
        artifact.put("size_bytes", model.bytes.limit());
        artifact.put("sha256", sha256);
        artifact.put("files", files);
        artifact.put("precision", description.precision);
        Map<String, Object> settings = new LinkedHashMap<>();
        settings.put("threads", job.settings.threads);
        settings.put("xnnpack", job.settings.xnnpackOnCpu());
        settings.put("precision_hint", null);
        settings.put("cpus", null);
        Map<String, Object> runtime = new LinkedHashMap<>();
        runtime.put("name", engines.name());
        runtime.put("version", engines.version());
        runtime.put("accelerator", job.settings.accelerator());
        if (!job.verify) {
            runtime.put("import_ms", null);
        }
        runtime.put("inference_precision", conditions.inferencePrecision(model, job.settings));
        Map<String, Object> record = new LinkedHashMap<>();
        record.put("schema_version", 2);
        record.put("kind", job.verify ? "verification_record" : "latency_record");
        record.put("created_utc", Conditions.utc());
        record.put("benchmark", program);
        record.put("name", job.out.substring(0, job.out.length() - ".json".length()));
        record.put("mode", job.verify ? "verify" : job.quick ? "quick" : "full");
        record.put("artifact", artifact);
        record.put("device", conditions.device());
        record.put("settings", settings);
        record.put("runtime", runtime);
        // The Java interfaces do not tell which operators a delegate took.
        record.put("delegate", null);
        return record;
    }

    private static Map<String, Object> complete(Map<String, Object> record, Map<String, Object> measured,
            double loadMs, Map<String, Object> memory) {
        record.put("input", measured.get("input"));
        record.put("output", measured.get("output"));
        record.put("verification", measured.get("verification"));
        record.put("load_ms", loadMs);
        for (String key : new String[] {"first_ms", "warmup", "duration_s", "latency_ms", "samples_ms", "overhead_us"}) {
            record.put(key, measured.get(key));
        }
        record.put("split_ms", null);
        record.put("sustained", measured.get("sustained"));
        record.put("memory", memory);
        record.put("context", measured.get("context"));
        List<Object> reasons = Judge.reasons(record);
        record.put("valid", reasons.isEmpty());
        record.put("invalid_reasons", reasons);
        record.put("warnings", Judge.warnings(record));
        return record;
    }
}
