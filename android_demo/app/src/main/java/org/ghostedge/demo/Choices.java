package org.ghostedge.demo;

import android.app.Activity;
import android.view.View;
import android.widget.ArrayAdapter;
import android.widget.Spinner;
import android.widget.Switch;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.ghostedge.core.EngineSettings;

/** The part that three screens share: which model, how many threads, with XNNPACK or without, on the GPU or not. */
final class Choices {
    private final Activity activity;
    private final Models models;
    private final Spinner modelSpinner;
    private final Spinner threadSpinner;
    private final Switch xnnpackSwitch;
    /** Gone where the library or the phone has no GPU. */
    private final Switch gpuSwitch;
    private List<String> names = new ArrayList<>();

    Choices(Activity activity) {
        this.activity = activity;
        models = new Models(activity);
        modelSpinner = (Spinner) activity.findViewById(R.id.models);
        threadSpinner = (Spinner) activity.findViewById(R.id.threads);
        xnnpackSwitch = (Switch) activity.findViewById(R.id.xnnpack);
        List<String> counts = new ArrayList<>();
        for (int i = 1; i <= Runtime.getRuntime().availableProcessors(); i++) {
            counts.add(String.valueOf(i));
        }
        gpuSwitch = (Switch) activity.findViewById(R.id.gpu);
        gpuSwitch.setVisibility(new Engines(activity).hasGpu() ? View.VISIBLE : View.GONE);
        EngineSettings settings = models.settings();
        fill(threadSpinner, counts, settings.threads - 1);
        xnnpackSwitch.setChecked(settings.xnnpack);
        gpuSwitch.setChecked(settings.gpu);
        refresh();
    }

    /** Lists the models again. */
    void refresh() {
        names = models.names();
        fill(modelSpinner, names, names.indexOf(models.chosen()));
    }

    private void fill(Spinner spinner, List<String> texts, int selected) {
        ArrayAdapter<String> adapter = new ArrayAdapter<>(activity, android.R.layout.simple_spinner_item, texts);
        adapter.setDropDownViewResource(android.R.layout.simple_spinner_dropdown_item);
        spinner.setAdapter(adapter);
        if (selected >= 0 && selected < texts.size()) {
            spinner.setSelection(selected);
        }
    }

    /** Null where there is none. */
    String model() {
        int place = modelSpinner.getSelectedItemPosition();
        return place >= 0 && place < names.size() ? names.get(place) : null;
    }

    EngineSettings settings() {
        int threads = Math.max(0, threadSpinner.getSelectedItemPosition()) + 1;
        return new EngineSettings(threads, xnnpackSwitch.isChecked(), gpuSwitch.isChecked());
    }

    /** The choices as the extras that adb would give. */
    void putInto(Map<String, Object> extras) {
        EngineSettings settings = settings();
        extras.put("model", model());
        extras.put("threads", settings.threads);
        extras.put("xnnpack", settings.xnnpack);
        extras.put("accelerator", settings.accelerator());
    }

    String howToAdd() {
        return models.howToAdd();
    }

    void enable(boolean enabled) {
        modelSpinner.setEnabled(enabled);
        threadSpinner.setEnabled(enabled);
        xnnpackSwitch.setEnabled(enabled);
        gpuSwitch.setEnabled(enabled);
    }

    void save() {
        if (model() != null) {
            models.choose(model(), settings());
        }
    }
}
