package org.ghostedge.demo;

import android.content.Intent;
import android.content.pm.PackageManager;
import android.os.Bundle;
import android.util.Log;
import android.view.WindowManager;
import android.widget.ArrayAdapter;
import android.widget.Spinner;
import java.io.File;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.ghostedge.core.Benchmark;
import org.ghostedge.core.BenchmarkJob;
import org.ghostedge.core.Cancellation;
import org.ghostedge.core.Conditions;
import org.ghostedge.core.DemoException;
import org.ghostedge.core.DeviceFiles;
import org.ghostedge.core.Json;
import org.ghostedge.core.Timer;
import org.ghostedge.core.WholeFile;

/**
 * Measure a model and write its latency record, by this screen or by adb.
 *
 * <pre>
 * adb shell am start -S -n org.ghostedge.demo/.BenchmarkActivity --es model NAME.tflite --ei threads 4
 *     --ez xnnpack true --es mode quick|valid|sustained|verify --ei minutes 10 --es golden PATH --es out NAME.json
 * </pre>
 *
 * <p>The record appears, whole, in files/records/ of the app's folder of the shared storage; where the run fails, a
 * file of the same name with .error behind it says why, in one line.
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
        if (choices.model() == null) {
            status.setText(choices.howToAdd());
        }
    }

    @Override
    void startBy(Intent intent) {
        Bundle extras = intent.getExtras();
        if (extras == null || extras.isEmpty()) {
            return;
        }
        Map<String, Object> map = new LinkedHashMap<>();
        for (String name : extras.keySet()) {
            map.put(name, extras.get(name));
        }
        begin(map);
    }

    @Override
    void begin() {
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("model", choices.model());
        map.put("threads", choices.threads());
        map.put("xnnpack", choices.xnnpack());
        map.put("mode", MODES[Math.max(0, modes.getSelectedItemPosition())]);
        begin(map);
    }

    private void begin(Map<String, Object> map) {
        Object out = map.get("out");
        try {
            if (isRunning()) {
                throw new DemoException(getString(R.string.already_running));
            }
            final BenchmarkJob job = BenchmarkJob.parse(map, Runtime.getRuntime().availableProcessors());
            final Cancellation mine = started();
            errorFile(job.out).delete();
            recordFile(job.out).delete();
            new Thread("benchmark") {
                @Override
                public void run() {
                    measure(job, mine);
                }
            }.start();
        } catch (DemoException exc) {
            status.setText(exc.getMessage());
            report(out instanceof String ? (String) out : "", exc.getMessage());
        }
    }

    private void measure(BenchmarkJob job, Cancellation mine) {
        String text;
        try {
            Conditions conditions = new Conditions(
                    new PhoneDevice(this), new DeviceFiles(new File("/sys"), new File("/proc")));
            Timer.Clock clock = new Timer.Clock() {
                @Override
                public long nanoTime() {
                    return System.nanoTime();
                }
            };
            Benchmark benchmark =
                    new Benchmark(new TfliteEngine.Factory(), conditions, clock, version(), mine, this);
            Models models = new Models(this);
            Map<String, Object> record =
                    benchmark.run(job, models.open(job.model), models.golden(job.model, job.golden));
            File file = recordFile(job.out);
            WholeFile.write(file, Json.write(record));
            text = summary(record) + "\n" + getString(R.string.written, file);
            Log.i(Failures.TAG, text);
        } catch (Exception | OutOfMemoryError exc) {
            text = Failures.text(this, exc);
            report(job.out, text);
        }
        finished(text);
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

    private File recordFile(String out) {
        return new File(Models.folder(this, "records"), out);
    }

    private File errorFile(String out) {
        return recordFile(out + ".error");
    }

    /** Leaves the reason where adb finds it. */
    private void report(String out, String text) {
        Log.e(Failures.TAG, text);
        String name = new File(out).getName();
        if (!name.isEmpty() && !name.startsWith(".")) {
            try {
                WholeFile.write(errorFile(name.endsWith(".json") ? name : name + ".json"), text + "\n");
            } catch (DemoException exc) {
                Log.e(Failures.TAG, exc.getMessage());
            }
        }
    }

    @Override
    public void progress(final String text, final int done, final int total) {
        runOnUiThread(new Runnable() {
            @Override
            public void run() {
                bar.setIndeterminate(total == 0);
                bar.setMax(total);
                bar.setProgress(done);
                status.setText(total == 0 ? text : getString(R.string.benchmark_progress, text, done, total));
            }
        });
    }

    @Override
    protected void onStop() {
        cancel(R.string.left_screen);
        super.onStop();
    }
}
