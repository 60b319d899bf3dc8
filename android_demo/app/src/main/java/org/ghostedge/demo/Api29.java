package org.ghostedge.demo;

import android.content.Context;
import android.os.PowerManager;

/** Calls that need Android 10 (API 29); reached only behind a check of the version. */
final class Api29 {
    private Api29() {}

    static int thermalStatus(Context context) {
        PowerManager power = (PowerManager) context.getSystemService(Context.POWER_SERVICE);
        return power == null ? -1 : power.getCurrentThermalStatus();
    }
}
