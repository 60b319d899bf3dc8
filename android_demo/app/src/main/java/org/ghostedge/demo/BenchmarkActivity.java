package org.ghostedge.demo;

import android.content.pm.PackageManager;
import android.view.WindowManager;
import android.widget.ArrayAdapter;
import android.widget.Spinner;
import java.io.File;
import java.util.List;
import java.util.Map;
import org.ghostedge.core.Benchmark;
import org.ghostedge.core.BenchmarkJob;
import org.ghostedge.core.Cancellation;
import org.ghostedge.core.Conditions;
import org.ghostedge.core.DemoException;
import org.ghostedge.core.DeviceFiles;
import org.ghostedge.core.Extras;
import org.ghostedge.core.Json;
import org.ghostedge.core.Timer;
import org.ghostedge.core.WholeFile;

/**
 * Measure a model and write its latency record, by this screen or by adb.
 *
 * <pre>
 * adb shell am start -S -n org.ghostedge.demo/.BenchmarkActivity --es model NAME.tflite --ei threads 4
 *     --ez xnnpack true --es accelerator cpu|gpu --es mode quick|valid|sustained|verify --ei minutes 10
 *     --es golden PATH --es out NAME.json
 * </pre>
 *
 * <p>The record appears in files/records/ of the app's folder of the shared storage.
 */
public final class BenchmarkActivity extends RunActivity {
    /** In the order of the array "modes". */
    private static final String[] MODES = {"quick", "valid", "sustained", "verify"};

    private Spinner modes;

    public BenchmarkActivity() {
        super(R.layout.benchmark, R.string.cancelled_by_user, R.id.modes);
    }

    @Override
    void prepare() {
        // Turns the screen on for adb: a run behind a dark screen would be slowed down by Android.
        getWindow().addFlags(WindowManager.LayoutParams.FLAG_SHOW_WHEN_LOCKED
                | WindowManager.LayoutParams.FLAG_TURN_SCREEN_ON);
        modes = (Spinner) findViewById(R.id.modes);
        ArrayAdapter<CharSequence> adapter =
                ArrayAdapter.createFromResource(this, R.array.modes, android.R.layout.simple_spinner_item);
        adapter.setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item);
        modes.setAdapter(adapter);
    }

    @Override
    void putOwnInto(Map<String, Object> extras) {
        extras.put("mode", MODES[Math.max(0, modes.getSelectedItemPosition())]);
    }

    @Override
    File fileOf(Map<String, Object> extras) {
        Object out = extras.get("out");
        String name = out instanceof String ? new File((String) out).getName() : "";
        return name.isEmpty() || name.startsWith(".") ? null
                : record(name.endsWith(".json") ? name : name + ".json");
    }

    private File record(String name) {
        return new File(Models.folder(this, "records"), name);
    }

    @Override
    Work work(Extras extras) throws DemoException {
        final Engines engines = new Engines(this);
        final BenchmarkJob job =
                BenchmarkJob.parse(extras, Runtime.getRuntime().availableProcessors(), engines.name());
        record(job.out).delete();
        return new Work(record(job.out)) {
            @Override
            String run(Cancellation mine) throws DemoException {
                return measure(engines, job, file, mine);
            }
        };
    }

    private String measure(Engines engines, BenchmarkJob job, File file, Cancellation mine) throws DemoException {
        Conditions conditions =
                new Conditions(new PhoneDevice(this), new DeviceFiles(new File("/sys"), new File("/proc")));
        Benchmark benchmark = new Benchmark(engines, conditions, Timer.SYSTEM, version(), mine, this);
        Models models = new Models(this);
        Map<String, Object> record =
                benchmark.run(job, models.open(job.model), models.golden(job.model, job.golden));
        WholeFile.write(file, Json.write(record));
        return summary(record);
    }

    private String version() {
        try {
            return getPackageManager().getPackageInfo(getPackageName(), 0).versionName;
        } catch (PackageManager.NameNotFoundException exc) {
            return "unknown";
        }
    }

    private String summary(Map<String, Object> record) {
        if (!record.containsKey("latency_ms")) {
            Map<?, ?> verification = (Map<?, ?>) record.get("verification");
            return Boolean.TRUE.equals(verification.get("correct"))
                    ? getString(R.string.verified_right, ((Map<?, ?>) verification.get("golden")).get("images"))
                    : getString(R.string.verified_wrong, verification.get("reason"));
        }
        Map<?, ?> latency = (Map<?, ?>) record.get("latency_ms");
        Object p50 = latency.get("p50");
        Object p90 = latency.get("p90");
        if (Boolean.TRUE.equals(record.get("valid"))) {
            return getString(R.string.benchmark_valid, p50, p90);
        }
        StringBuilder why = new StringBuilder();
        for (Object reason : (List<?>) record.get("invalid_reasons")) {
            why.append(why.length() == 0 ? "" : "; ").append(((Map<?, ?>) reason).get("text"));
        }
        return getString(R.string.benchmark_not_valid, p50, p90, why);
    }

    @Override
    protected void onStop() {
        cancel(R.string.left_screen);
        super.onStop();
    }
}
