package org.ghostedge.core;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.util.Arrays;

/** Time the preprocessing of a 1280 x 720 frame; benchmarks/android_preprocess.py asks for a round a line. */
public final class PreprocessBenchmark {
    private static final int WIDTH = 1280;
    private static final int HEIGHT = 720;

    private PreprocessBenchmark() {}

    public static void main(String[] args) throws Exception {
        byte[] rgb = TestData.picture(WIDTH, HEIGHT);
        ByteBuffer rgba = ByteBuffer.allocateDirect(4 * WIDTH * HEIGHT);
        ByteBuffer plane = ByteBuffer.allocateDirect(WIDTH * HEIGHT);
        for (int i = 0; i < WIDTH * HEIGHT; i++) {
            rgba.put(rgb, 3 * i, 3).put((byte) 255);
            plane.put(rgb[i]);
        }
        InputSpec spec = TestData.spec(256, 224, 224);
        InputEncoder encoder =
                new InputEncoder(spec, new TensorInfo(TensorInfo.Type.FLOAT32, spec.shape(), 0, 0));
        Preprocessor preprocessor = new Preprocessor(spec);
        RgbaPixels picture = new RgbaPixels(rgba, WIDTH, HEIGHT, 4 * WIDTH, 0, false);
        Preprocessor ofCamera = new Preprocessor(spec);
        YuvPixels frame = new YuvPixels();
        BufferedReader rounds = new BufferedReader(new InputStreamReader(System.in));
        String line;
        while ((line = rounds.readLine()) != null) {
            int count = Integer.parseInt(line);
            double[] crop = new double[count];
            double[] whole = new double[count];
            double[] camera = new double[count];
            for (int i = 0; i < count; i++) {
                long started = System.nanoTime();
                byte[] pixels = preprocessor.crop(picture);
                long cropped = System.nanoTime();
                encoder.encode(pixels);
                whole[i] = (System.nanoTime() - started) / 1e6;
                crop[i] = (cropped - started) / 1e6;
            }
            for (int i = 0; i < count; i++) {
                long started = System.nanoTime();
                frame.set(plane, plane, plane, WIDTH, HEIGHT, WIDTH, WIDTH, 2, 90);
                encoder.encode(ofCamera.crop(frame));
                camera[i] = (System.nanoTime() - started) / 1e6;
            }
            System.out.println(median(crop) + " " + median(whole) + " " + median(camera));
        }
    }

    private static double median(double[] values) {
        Arrays.sort(values);
        return values[values.length / 2];
    }
}
