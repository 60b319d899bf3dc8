package org.ghostedge.demo;

import android.app.Activity;
import android.widget.ArrayAdapter;
import android.widget.Spinner;
import android.widget.Switch;
import java.util.ArrayList;
import java.util.List;

/** The part that three screens share: which model, how many threads, with XNNPACK or without. */
final class Choices {
    private final Activity activity;
    private final Models models;
    private final Spinner modelSpinner;
    private final Spinner threadSpinner;
    private final Switch xnnpackSwitch;
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
        fill(threadSpinner, counts, models.threads() - 1);
        xnnpackSwitch.setChecked(models.xnnpack());
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

    int threads() {
        return Math.max(0, threadSpinner.getSelectedItemPosition()) + 1;
    }

    boolean xnnpack() {
        return xnnpackSwitch.isChecked();
    }

    String howToAdd() {
        return models.howToAdd();
    }

    void enable(boolean enabled) {
        modelSpinner.setEnabled(enabled);
        threadSpinner.setEnabled(enabled);
        xnnpackSwitch.setEnabled(enabled);
    }

    void save() {
        if (model() != null) {
            models.choose(model(), threads(), xnnpack());
        }
    }
}
