package org.ghostedge.demo;

import android.content.Context;
import android.content.Intent;
import android.content.IntentFilter;
import android.os.BatteryManager;
import android.os.Build;
import android.os.Process;
import java.util.LinkedHashMap;
import java.util.Map;
import org.ghostedge.core.Device;

/** What Android tells about this phone. */
final class PhoneDevice implements Device {
    private final Context context;

    PhoneDevice(Context context) {
        this.context = context.getApplicationContext();
    }

    private static String soc() {
        return Build.VERSION.SDK_INT >= 31 ? Api31.soc() : Build.HARDWARE;
    }

    @Override
    public Map<String, Object> facts() {
        Map<String, Object> facts = new LinkedHashMap<>();
        facts.put("model", Build.MANUFACTURER + " " + Build.MODEL);
        facts.put("soc", soc());
        facts.put("architecture", System.getProperty("os.arch", "unknown"));
        facts.put("cores", Runtime.getRuntime().availableProcessors());
        facts.put("system", "Android " + Build.VERSION.RELEASE + " (API " + Build.VERSION.SDK_INT + ")");
        facts.put("kernel", System.getProperty("os.version"));
        facts.put("emulated", Build.HARDWARE.equals("ranchu") || Build.HARDWARE.equals("goldfish"));
        return facts;
    }

    /** machine, system, cpu, model: where a ledger's numbers come from. */
    Map<String, Object> host() {
        Map<String, Object> host = new LinkedHashMap<>();
        host.put("machine", System.getProperty("os.arch", "unknown"));
        host.put("system", "Android " + Build.VERSION.RELEASE);
        host.put("cpu", soc());
        host.put("model", Build.MANUFACTURER + " " + Build.MODEL);
        return host;
    }

    /** The last broadcast about the battery; it stays, so that asking registers nothing. */
    private Intent battery() {
        return context.registerReceiver(null, new IntentFilter(Intent.ACTION_BATTERY_CHANGED));
    }

    private static Integer extra(Intent battery, String name) {
        int value = battery == null ? Integer.MIN_VALUE : battery.getIntExtra(name, Integer.MIN_VALUE);
        return value == Integer.MIN_VALUE ? null : Integer.valueOf(value);
    }

    @Override
    public String powerSource() {
        Integer plugged = extra(battery(), BatteryManager.EXTRA_PLUGGED);
        return plugged == null ? null : plugged == 0 ? "battery" : "mains";
    }

    @Override
    public Double batteryPercent() {
        Intent battery = battery();
        Integer level = extra(battery, BatteryManager.EXTRA_LEVEL);
        Integer scale = extra(battery, BatteryManager.EXTRA_SCALE);
        return level == null || scale == null || scale <= 0 ? null : Double.valueOf(100.0 * level / scale);
    }

    @Override
    public Double batteryTemperature() {
        Integer tenths = extra(battery(), BatteryManager.EXTRA_TEMPERATURE);
        return tenths == null ? null : Double.valueOf(tenths / 10.0);
    }

    @Override
    public int thermalStatus() {
        return Build.VERSION.SDK_INT >= 29 ? Api29.thermalStatus(context) : -1;
    }

    @Override
    public double ownSeconds() {
        return Process.getElapsedCpuTime() / 1e3;
    }
}
