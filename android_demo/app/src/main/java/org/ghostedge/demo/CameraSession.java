package org.ghostedge.demo;

import android.content.Context;
import android.graphics.ImageFormat;
import android.graphics.SurfaceTexture;
import android.hardware.camera2.CameraAccessException;
import android.hardware.camera2.CameraCaptureSession;
import android.hardware.camera2.CameraCharacteristics;
import android.hardware.camera2.CameraDevice;
import android.hardware.camera2.CameraManager;
import android.hardware.camera2.CaptureRequest;
import android.hardware.camera2.params.StreamConfigurationMap;
import android.media.Image;
import android.media.ImageReader;
import android.os.Handler;
import android.os.HandlerThread;
import android.util.Size;
import android.view.Surface;
import java.util.Arrays;
import org.ghostedge.core.CameraGeometry;
import org.ghostedge.core.DemoException;
import org.ghostedge.core.YuvPixels;

/**
 * One camera, open from construction to {@link #close}: its preview on a texture, its newest frame for the listener.
 *
 * <p>Frames are taken on the session's own thread. While the listener works on one, newer ones replace each other in
 * the reader, so that it always continues with the newest.
 */
final class CameraSession implements ImageReader.OnImageAvailableListener {
    /** Is told, on the session's thread, of frames and of the end. */
    interface Listener {
        void onFrame(YuvPixels frame);

        void onFailure(Throwable failure);

        /** The last call. */
        void onClosed();
    }

    private final Context context;
    private final Listener listener;
    private final SurfaceTexture texture;
    private final HandlerThread thread = new HandlerThread("camera");
    private final Handler handler;
    private final YuvPixels pixels = new YuvPixels();
    private final Size size;
    private final int degrees;
    private ImageReader reader;
    private CameraDevice camera;
    private Surface preview;
    private boolean closed;

    /**
     * Starts to open the first camera that looks away from the user, else any.
     *
     * @throws DemoException there is none
     * @throws CameraAccessException the device does not give it
     * @throws SecurityException the permission is missing
     */
    CameraSession(Context context, SurfaceTexture texture, int displayDegrees, Listener listener)
            throws DemoException, CameraAccessException {
        this.context = context;
        this.texture = texture;
        this.listener = listener;
        CameraManager manager = (CameraManager) context.getSystemService(Context.CAMERA_SERVICE);
        String id = manager == null ? null : choose(manager);
        if (id == null) {
            throw new DemoException(context.getString(R.string.camera_absent));
        }
        CameraCharacteristics facts = manager.getCameraCharacteristics(id);
        size = frameSize(facts);
        Integer sensor = facts.get(CameraCharacteristics.SENSOR_ORIENTATION);
        Integer facing = facts.get(CameraCharacteristics.LENS_FACING);
        boolean front = facing != null && facing == CameraCharacteristics.LENS_FACING_FRONT;
        degrees = CameraGeometry.uprightDegrees(sensor == null ? 90 : sensor, displayDegrees, front);
        thread.start();
        handler = new Handler(thread.getLooper());
        try {
            manager.openCamera(id, new Opening(), handler);
        } catch (CameraAccessException | RuntimeException exc) {
            thread.quitSafely();
            throw exc;
        }
    }

    Size size() {
        return size;
    }

    private static String choose(CameraManager manager) throws CameraAccessException {
        String[] ids = manager.getCameraIdList();
        for (String id : ids) {
            Integer facing = manager.getCameraCharacteristics(id).get(CameraCharacteristics.LENS_FACING);
            if (facing != null && facing == CameraCharacteristics.LENS_FACING_BACK) {
                return id;
            }
        }
        return ids.length == 0 ? null : ids[0];
    }

    private Size frameSize(CameraCharacteristics facts) throws DemoException {
        StreamConfigurationMap map = facts.get(CameraCharacteristics.SCALER_STREAM_CONFIGURATION_MAP);
        Size[] sizes = map == null ? null : map.getOutputSizes(ImageFormat.YUV_420_888);
        int count = sizes == null ? 0 : sizes.length;
        int[] widths = new int[count];
        int[] heights = new int[count];
        for (int i = 0; i < count; i++) {
            widths[i] = sizes[i].getWidth();
            heights[i] = sizes[i].getHeight();
        }
        int best = CameraGeometry.frameSize(widths, heights);
        if (best < 0) {
            throw new DemoException(context.getString(R.string.camera_absent));
        }
        return sizes[best];
    }

    private final class Opening extends CameraDevice.StateCallback {
        @Override
        public void onOpened(CameraDevice device) {
            if (closed) {
                device.close();
                return;
            }
            camera = device;
            try {
                reader = ImageReader.newInstance(size.getWidth(), size.getHeight(), ImageFormat.YUV_420_888, 2);
                reader.setOnImageAvailableListener(CameraSession.this, handler);
                texture.setDefaultBufferSize(size.getWidth(), size.getHeight());
                preview = new Surface(texture);
                device.createCaptureSession(Arrays.asList(preview, reader.getSurface()), new Starting(), handler);
            } catch (CameraAccessException | RuntimeException exc) {
                listener.onFailure(exc);
            }
        }

        @Override
        public void onDisconnected(CameraDevice device) {
            device.close();
            listener.onFailure(new DemoException(context.getString(R.string.camera_in_use)));
        }

        @Override
        public void onError(CameraDevice device, int error) {
            device.close();
            boolean taken = error == ERROR_CAMERA_IN_USE || error == ERROR_MAX_CAMERAS_IN_USE
                    || error == ERROR_CAMERA_DISABLED;
            listener.onFailure(new DemoException(taken ? context.getString(R.string.camera_in_use)
                    : context.getString(R.string.camera_failed, error)));
        }
    }

    private final class Starting extends CameraCaptureSession.StateCallback {
        @Override
        public void onConfigured(CameraCaptureSession session) {
            if (closed) {
                return;
            }
            try {
                CaptureRequest.Builder request = camera.createCaptureRequest(CameraDevice.TEMPLATE_PREVIEW);
                request.addTarget(preview);
                request.addTarget(reader.getSurface());
                session.setRepeatingRequest(request.build(), null, handler);
            } catch (CameraAccessException | RuntimeException exc) {
                listener.onFailure(exc);
            }
        }

        @Override
        public void onConfigureFailed(CameraCaptureSession session) {
            listener.onFailure(new DemoException(context.getString(R.string.camera_failed, 0)));
        }
    }

    @Override
    public void onImageAvailable(ImageReader from) {
        try {
            Image image = closed ? null : from.acquireLatestImage();
            if (image == null) {
                return;
            }
            try {
                Image.Plane[] planes = image.getPlanes();
                pixels.set(planes[0].getBuffer(), planes[1].getBuffer(), planes[2].getBuffer(), image.getWidth(),
                        image.getHeight(), planes[0].getRowStride(), planes[1].getRowStride(),
                        planes[1].getPixelStride(), degrees);
            } finally {
                image.close();
            }
            listener.onFrame(pixels);
        } catch (RuntimeException | OutOfMemoryError exc) {
            listener.onFailure(exc);
        }
    }

    /** Gives the camera back, after the frame that is being worked on; returns at once. */
    void close() {
        handler.post(new Runnable() {
            @Override
            public void run() {
                closed = true;
                if (camera != null) {
                    camera.close();
                }
                if (reader != null) {
                    reader.close();
                }
                if (preview != null) {
                    preview.release();
                }
                listener.onClosed();
                thread.quitSafely();
            }
        });
    }

    /** Whether this session tells {@code other}. */
    boolean isFor(Listener other) {
        return listener == other;
    }
}
