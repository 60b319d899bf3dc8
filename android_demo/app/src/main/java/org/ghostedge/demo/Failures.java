package org.ghostedge.demo;

import android.content.Context;
import android.util.Log;
import org.ghostedge.core.DemoException;

/** One readable line for whatever went wrong on a working thread. */
final class Failures {
    static final String TAG = "ghostedge";

    private Failures() {}

    static String text(Context context, Throwable failure) {
        Log.w(TAG, failure);
        if (failure instanceof DemoException) {
            return failure.getMessage();
        }
        if (failure instanceof OutOfMemoryError) {
            return context.getString(R.string.no_memory);
        }
        return context.getString(R.string.unexpected, failure);
    }
}
