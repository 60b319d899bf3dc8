package org.ghostedge.core;

/**
 * Resize a picture's shorter side and cut out the centre, bit for bit as ghostedge.data.preprocess does.
 *
 * <p>The rule, OpenCV's INTER_LINEAR on uint8, is explained there (resize_and_crop). Tables and lines are kept while
 * pictures have one size, so that a camera's frames allocate nothing. Not for several threads at once.
 */
public final class Preprocessor {
    private final InputSpec spec;
    private final byte[] crop;
    /** Two entries a target pixel: the pixels it reads. */
    private final int[] columns;
    private final int[] weightLeft;
    private final int[] weightRight;
    private final int[] upper;
    private final int[] lower;
    private final int[] weightUpper;
    private final int[] weightLower;
    private final int[] looked;
    private int[] firstLine;
    private int[] secondLine;
    private int sourceWidth;
    private int sourceHeight;

    public Preprocessor(InputSpec spec) throws DemoException {
        if (!spec.resizeRule.equals("opencv_linear")) {
            throw new DemoException("the model's resize rule, " + spec.resizeRule
                    + ", is not available here; export it with the rule opencv_linear");
        }
        this.spec = spec;
        crop = new byte[spec.height * spec.width * 3];
        columns = new int[2 * spec.width];
        weightLeft = new int[spec.width];
        weightRight = new int[spec.width];
        upper = new int[spec.height];
        lower = new int[spec.height];
        weightUpper = new int[spec.height];
        weightLower = new int[spec.height];
        looked = new int[2 * spec.width];
        firstLine = new int[3 * spec.width];
        secondLine = new int[3 * spec.width];
    }

    /** The longer side when the shorter one becomes {@code resize}; the float32 matters, see resized_size. */
    static int longerSide(int height, int width, int resize) {
        return (int) ((float) Math.max(height, width) / (float) Math.min(height, width) * (float) resize);
    }

    /**
     * Resizes and crops.
     *
     * @return uint8 (height, width, 3), RGB; the same array at every call
     */
    public byte[] crop(Pixels source) {
        if (source.width() != sourceWidth || source.height() != sourceHeight) {
            prepare(source.width(), source.height());
        }
        int width = spec.width;
        int firstRow = -1;
        int secondRow = -1;
        int at = 0;
        for (int row = 0; row < spec.height; row++) {
            if (upper[row] == secondRow) { // the usual case of enlarging: the lower line becomes the upper one
                int[] swapped = firstLine;
                firstLine = secondLine;
                secondLine = swapped;
                secondRow = firstRow;
                firstRow = upper[row];
            } else if (upper[row] != firstRow) {
                firstRow = upper[row];
                line(source, firstRow, firstLine);
            }
            if (lower[row] != secondRow) {
                secondRow = lower[row];
                line(source, secondRow, secondLine);
            }
            int above = weightUpper[row];
            int below = weightLower[row];
            int[] a = firstLine;
            int[] b = secondLine;
            for (int i = 0; i < 3 * width; i++) {
                crop[at++] = (byte) ((a[i] * above >> 16) + (b[i] * below >> 16) + 2 >> 2);
            }
        }
        return crop;
    }

    /** One line of the picture at the target's columns, in units of 1/128. */
    private void line(Pixels source, int y, int[] out) {
        int[] pixels = looked;
        source.row(y, columns, columns.length, pixels);
        int at = 0;
        for (int i = 0; i < weightLeft.length; i++) {
            int left = pixels[2 * i];
            int right = pixels[2 * i + 1];
            int before = weightLeft[i];
            int after = weightRight[i];
            out[at] = (left >> 16 & 0xff) * before + (right >> 16 & 0xff) * after >> 4;
            out[at + 1] = (left >> 8 & 0xff) * before + (right >> 8 & 0xff) * after >> 4;
            out[at + 2] = (left & 0xff) * before + (right & 0xff) * after >> 4;
            at += 3;
        }
    }

    private void prepare(int width, int height) {
        int longer = longerSide(height, width, spec.resize);
        int rows = height < width ? spec.resize : longer;
        int targetColumns = height < width ? longer : spec.resize;
        int left = Math.floorDiv(targetColumns - spec.width, 2);
        int top = Math.floorDiv(rows - spec.height, 2);
        for (int i = 0; i < spec.width; i++) {
            float position = position(width, targetColumns, left + i);
            int index = (int) Math.floor(position);
            float fraction = position - index;
            if (index < 0 || index >= width - 1) {
                fraction = 0;
                index = Math.min(Math.max(index, 0), width - 1);
            }
            columns[2 * i] = index;
            columns[2 * i + 1] = Math.min(index + 1, width - 1);
            weightLeft[i] = weight(1f - fraction);
            weightRight[i] = weight(fraction);
        }
        for (int i = 0; i < spec.height; i++) {
            float position = position(height, rows, top + i);
            int index = (int) Math.floor(position);
            float fraction = position - index;
            upper[i] = Math.min(Math.max(index, 0), height - 1);
            lower[i] = Math.min(Math.max(index + 1, 0), height - 1);
            weightUpper[i] = weight(1f - fraction);
            weightLower[i] = weight(fraction);
        }
        sourceWidth = width;
        sourceHeight = height;
    }

    private static float position(int source, int target, int index) {
        double scale = 1.0 / ((double) target / source);
        return (float) ((index + 0.5) * scale - 0.5);
    }

    /** In units of 1/2048, halves to even. */
    private static int weight(float fraction) {
        return (int) Math.rint(fraction * 2048f);
    }
}
