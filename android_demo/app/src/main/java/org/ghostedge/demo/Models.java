package org.ghostedge.demo;

import android.content.Context;
import android.content.SharedPreferences;
import android.content.res.AssetFileDescriptor;
import android.database.Cursor;
import android.net.Uri;
import android.provider.OpenableColumns;
import java.io.File;
import java.io.FileInputStream;
import java.io.FileNotFoundException;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.ghostedge.core.DemoException;
import org.ghostedge.core.Description;
import org.ghostedge.core.EngineSettings;
import org.ghostedge.core.Golden;
import org.ghostedge.core.ModelFile;

/** The models that are there, bundled or in storage, and which of them is chosen. */
final class Models {
    static final String SUFFIX = ".tflite";
    /** How a bundled model is named, and the folder of the APK's assets that it is in. */
    static final String BUNDLED = "models/";

    private final Context context;

    Models(Context context) {
        this.context = context.getApplicationContext();
    }

    /** A folder of the app that adb reaches: models, records, ledgers or images. */
    static File folder(Context context, String name) {
        File root = context.getExternalFilesDir(null);
        File folder = new File(root != null ? root : context.getFilesDir(), name);
        folder.mkdirs(); // where it fails, what is written there says so
        return folder;
    }

    /** Names to choose from: files of the storage, then bundled ones as {@code models/NAME}. */
    List<String> names() {
        List<String> names = new ArrayList<>();
        String[] files = folder(context, "models").list();
        for (String file : files == null ? new String[0] : files) {
            if (file.endsWith(SUFFIX) && !file.startsWith(".")) {
                names.add(file);
            }
        }
        Collections.sort(names);
        try {
            String[] assets = context.getAssets().list("models");
            for (String asset : assets == null ? new String[0] : assets) {
                if (asset.endsWith(SUFFIX)) {
                    names.add(BUNDLED + asset);
                }
            }
        } catch (IOException exc) {
            // an APK without models
        }
        return names;
    }

    /** The chosen model, else the first; null where there is none. */
    String chosen() {
        List<String> names = names();
        String name = preferences().getString("model", "");
        return names.contains(name) ? name : names.isEmpty() ? null : names.get(0);
    }

    /** How models are run, by choice; on the CPU where there is no GPU. */
    EngineSettings settings() {
        SharedPreferences stored = preferences();
        int threads = stored.getInt("threads", Math.min(4, Runtime.getRuntime().availableProcessors()));
        return new EngineSettings(Math.max(1, threads), stored.getBoolean("xnnpack", true),
                stored.getBoolean("gpu", false) && new Engines(context).hasGpu());
    }

    void choose(String model, EngineSettings settings) {
        preferences().edit().putString("model", model).putInt("threads", settings.threads)
                .putBoolean("xnnpack", settings.xnnpack).putBoolean("gpu", settings.gpu).apply();
    }

    private SharedPreferences preferences() {
        return context.getSharedPreferences("settings", Context.MODE_PRIVATE);
    }

    /** What to do where there is no model. */
    String howToAdd() {
        return context.getString(R.string.no_model, folder(context, "models"));
    }

    private File file(String name) {
        return name.startsWith("/") ? new File(name) : new File(folder(context, "models"), name);
    }

    /**
     * Reads the golden pictures of a model.
     *
     * @param model one of {@link #names()}, or the path of a file
     * @param asked a path, or a file's name in the folder of models; null: the model's own, which lies beside it
     * @return null where none is asked for and none is clearly its own
     */
    Golden golden(String model, String asked) throws DemoException {
        String name = asked;
        File file = file(model);
        boolean bundled = !file.isFile() && model.startsWith(BUNDLED);
        try {
            if (asked == null) {
                File folder = file.getAbsoluteFile().getParentFile();
                String own = Golden.beside(file.getName(), bundled ? context.getAssets().list("models") : folder.list());
                if (own == null) {
                    return null;
                }
                name = bundled ? BUNDLED + own : new File(folder, own).getPath();
            }
            try (InputStream stream = bundled && asked == null
                    ? context.getAssets().open(name) : new FileInputStream(file(name))) {
                return Golden.read(name, stream);
            }
        } catch (FileNotFoundException exc) {
            throw new DemoException("golden: " + name + " does not exist or cannot be read; ghostedge export writes NAME"
                    + Golden.SUFFIX + " beside the models", exc);
        } catch (IOException exc) {
            throw new DemoException("golden: " + name + " cannot be read: " + exc.getMessage(), exc);
        }
    }

    /**
     * Maps a model.
     *
     * @param name one of {@link #names()}, or the path of a file
     */
    ModelFile open(String name) throws DemoException {
        File file = file(name);
        try {
            if (!file.isFile() && name.startsWith(BUNDLED)) {
                try (AssetFileDescriptor asset = context.getAssets().openFd(name);
                        FileInputStream stream = new FileInputStream(asset.getFileDescriptor())) {
                    Description.checkSize(name, asset.getLength());
                    ByteBuffer bytes = stream.getChannel()
                            .map(FileChannel.MapMode.READ_ONLY, asset.getStartOffset(), asset.getLength());
                    return new ModelFile(name.substring(BUNDLED.length()), null, bytes);
                }
            }
            try (FileInputStream stream = new FileInputStream(file)) {
                Description.checkSize(file.getName(), stream.getChannel().size());
                ByteBuffer bytes = stream.getChannel()
                        .map(FileChannel.MapMode.READ_ONLY, 0, stream.getChannel().size());
                return new ModelFile(file.getName(), file, bytes);
            }
        } catch (IOException exc) {
            throw new DemoException("the model " + name + " cannot be read; push it: adb push MODEL.tflite "
                    + folder(context, "models") + "/", exc);
        }
    }

    /** Copies a model that another app offers into the folder of models, whole or not at all. Returns: its name. */
    String add(Uri uri) throws DemoException {
        String name = displayName(uri);
        if (!name.endsWith(SUFFIX)) {
            throw new DemoException(name + " is not a .tflite file.");
        }
        File file = new File(folder(context, "models"), name);
        File partial = new File(file.getParentFile(), ".partial-" + name);
        try (InputStream in = context.getContentResolver().openInputStream(uri);
                FileOutputStream out = new FileOutputStream(partial)) {
            if (in == null) {
                throw new IOException("the other app gives no data");
            }
            byte[] block = new byte[1 << 16];
            long total = 0;
            int count;
            while ((count = in.read(block)) > 0) {
                total += count;
                Description.checkSize(name, total);
                out.write(block, 0, count);
            }
            out.getFD().sync();
        } catch (IOException | SecurityException exc) {
            partial.delete();
            throw new DemoException(name + " cannot be copied: " + exc.getMessage(), exc);
        } catch (DemoException exc) {
            partial.delete();
            throw exc;
        }
        try {
            open(partial.getPath()); // is it a model?
            if (!partial.renameTo(file)) {
                throw new DemoException(name + " cannot be put into " + file.getParent());
            }
        } catch (DemoException exc) {
            partial.delete();
            throw new DemoException(exc.getMessage().replace(partial.getName(), name), exc);
        }
        return name;
    }

    private String displayName(Uri uri) {
        String name = null;
        try (Cursor cursor = context.getContentResolver()
                .query(uri, new String[] {OpenableColumns.DISPLAY_NAME}, null, null, null)) {
            if (cursor != null && cursor.moveToFirst()) {
                name = cursor.getString(0);
            }
        } catch (RuntimeException exc) {
            name = null; // what another app's provider throws is an open set
        }
        name = name != null ? name : String.valueOf(uri.getLastPathSegment());
        return name.substring(name.lastIndexOf('/') + 1);
    }
}
