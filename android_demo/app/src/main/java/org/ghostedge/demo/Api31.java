package org.ghostedge.demo;

import android.os.Build;

/** What needs Android 12 (API 31); reached only behind a check of the version. */
final class Api31 {
    private Api31() {}

    static String soc() {
        return Build.SOC_MANUFACTURER + " " + Build.SOC_MODEL;
    }
}
