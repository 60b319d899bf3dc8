package org.ghostedge.demo;

import android.content.Context;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.media.ExifInterface;
import android.net.Uri;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import org.ghostedge.core.DemoException;
import org.ghostedge.core.Pixels;
import org.ghostedge.core.RgbaPixels;

/** Decode pictures to the pixels they hold: no colour management, no blending, no scaling on the way. */
final class Pictures {
    /** Four bytes a pixel, twice for a moment: what a phone's memory takes. */
    private static final long MAX_PIXELS = 60_000_000;

    private static final int PREVIEW_SIDE = 1024;

    /** Where a picture's bytes come from; opened up to three times. */
    interface Source {
        InputStream open() throws IOException;
    }

    private Pictures() {}

    static Source of(final Context context, final Uri uri) {
        return new Source() {
            @Override
            public InputStream open() throws IOException {
                InputStream stream = context.getContentResolver().openInputStream(uri);
                if (stream == null) {
                    throw new IOException("the other app gives no data");
                }
                return stream;
            }
        };
    }

    static Source of(final File file) {
        return new Source() {
            @Override
            public InputStream open() throws IOException {
                return new FileInputStream(file);
            }
        };
    }

    /**
     * Decodes a picture.
     *
     * @param upright turn it as its EXIF data says, as people see it; ghostedge's evaluation does not
     * @throws DemoException not a picture that this phone decodes, or too large
     */
    static Pixels decode(Source source, boolean upright) throws DemoException {
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inJustDecodeBounds = true;
        read(source, options);
        long pixels = (long) options.outWidth * options.outHeight;
        if (options.outWidth <= 0 || options.outHeight <= 0) {
            throw new DemoException("it is not a picture that this phone decodes; take a JPEG or PNG");
        }
        if (pixels > MAX_PIXELS) {
            throw new DemoException("it has " + options.outWidth + " x " + options.outHeight + " pixels; at most "
                    + MAX_PIXELS / 1_000_000 + " million are decoded, scale it down first");
        }
        options.inJustDecodeBounds = false;
        options.inPreferredConfig = Bitmap.Config.ARGB_8888;
        options.inPremultiplied = false; // alpha is dropped, not blended
        options.inScaled = false;
        Bitmap bitmap = read(source, options);
        if (bitmap == null || bitmap.getConfig() != Bitmap.Config.ARGB_8888) {
            throw new DemoException("it cannot be decoded; it may be cut short, copy it again");
        }
        try {
            // Not getPixels(), which converts to sRGB: the reference takes the values as they are stored.
            ByteBuffer data = ByteBuffer.allocateDirect(bitmap.getByteCount());
            bitmap.copyPixelsToBuffer(data);
            int orientation = upright ? orientation(source) : ExifInterface.ORIENTATION_NORMAL;
            return new RgbaPixels(data, bitmap.getWidth(), bitmap.getHeight(), bitmap.getRowBytes(),
                    degrees(orientation), mirrored(orientation));
        } finally {
            bitmap.recycle();
        }
    }

    /** A small picture for the screen, in the stored orientation; null where it cannot be decoded. */
    static Bitmap preview(Source source) throws DemoException {
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inJustDecodeBounds = true;
        read(source, options);
        options.inJustDecodeBounds = false;
        options.inSampleSize = 1;
        while (Math.max(options.outWidth, options.outHeight) / options.inSampleSize > PREVIEW_SIDE) {
            options.inSampleSize *= 2;
        }
        return read(source, options);
    }

    /** Clockwise degrees that turn the stored picture upright, after mirroring. */
    static float previewDegrees(Source source) {
        return degrees(orientation(source));
    }

    private static Bitmap read(Source source, BitmapFactory.Options options) throws DemoException {
        try (InputStream stream = source.open()) {
            return BitmapFactory.decodeStream(stream, null, options);
        } catch (IOException | RuntimeException exc) { // what another app's provider throws is an open set
            throw new DemoException("it cannot be read (" + exc.getMessage() + ")", exc);
        }
    }

    private static int orientation(Source source) {
        try (InputStream stream = source.open()) {
            return new ExifInterface(stream)
                    .getAttributeInt(ExifInterface.TAG_ORIENTATION, ExifInterface.ORIENTATION_NORMAL);
        } catch (IOException | RuntimeException exc) {
            return ExifInterface.ORIENTATION_NORMAL; // a PNG, or damaged EXIF data
        }
    }

    private static int degrees(int orientation) {
        switch (orientation) {
            case ExifInterface.ORIENTATION_ROTATE_90:
            case ExifInterface.ORIENTATION_TRANSVERSE:
                return 90;
            case ExifInterface.ORIENTATION_ROTATE_180:
            case ExifInterface.ORIENTATION_FLIP_VERTICAL:
                return 180;
            case ExifInterface.ORIENTATION_ROTATE_270:
            case ExifInterface.ORIENTATION_TRANSPOSE:
                return 270;
            default:
                return 0;
        }
    }

    private static boolean mirrored(int orientation) {
        return orientation == ExifInterface.ORIENTATION_FLIP_HORIZONTAL
                || orientation == ExifInterface.ORIENTATION_FLIP_VERTICAL
                || orientation == ExifInterface.ORIENTATION_TRANSPOSE
                || orientation == ExifInterface.ORIENTATION_TRANSVERSE;
    }
}
