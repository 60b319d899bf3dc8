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
    private final int[] left;
    private final int[] right;
    private final int[] weightLeft;
    private final int[] weightRight;
    private final int[] upper;
    private final int[] lower;
    private final int[] weightUpper;
    private final int[] weightLower;
    private final int[] leftPixels;
    private final int[] rightPixels;
    private final int[] mixed;
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
        left = new int[spec.width];
        right = new int[spec.width];
        weightLeft = new int[spec.width];
        weightRight = new int[spec.width];
        upper = new int[spec.height];
        lower = new int[spec.height];
        weightUpper = new int[spec.height];
        weightLower = new int[spec.height];
        leftPixels = new int[spec.width];
        rightPixels = new int[spec.width];
        mixed = new int[3 * spec.width];
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
            mix(firstLine, weightUpper[row], secondLine, weightLower[row], mixed);
            for (int i = 0; i < width; i++) {
                crop[at] = (byte) mixed[i];
                crop[at + 1] = (byte) mixed[width + i];
                crop[at + 2] = (byte) mixed[2 * width + i];
                at += 3;
            }
        }
        return crop;
    }

    /** One line of the picture at the target's columns, in units of 1/128: all of R, then all of G, then all of B. */
    private void line(Pixels source, int y, int[] out) {
        int width = spec.width;
        source.row(y, left, width, leftPixels);
        source.row(y, right, width, rightPixels);
        channel(leftPixels, weightLeft, rightPixels, weightRight, 0, out, 0);
        channel(leftPixels, weightLeft, rightPixels, weightRight, 8, out, width);
        channel(leftPixels, weightLeft, rightPixels, weightRight, 16, out, 2 * width);
    }

    /** One colour of a line; a loop that the JVM turns into vector instructions, which is why colours lie apart. */
    private static void channel(int[] first, int[] before, int[] second, int[] after, int shift, int[] out, int at) {
        for (int i = 0; i < first.length; i++) {
            out[at + i] = (first[i] >> shift & 0xff) * before[i] + (second[i] >> shift & 0xff) * after[i] >> 4;
        }
    }

    /** Two lines to one, 0..255. Apart from the narrowing to bytes, so that the loop becomes vector instructions. */
    private static void mix(int[] upper, int above, int[] lower, int below, int[] out) {
        for (int i = 0; i < out.length; i++) {
            out[i] = (upper[i] * above >> 16) + (lower[i] * below >> 16) + 2 >> 2;
        }
    }

    private void prepare(int width, int height) {
        int longer = longerSide(height, width, spec.resize);
        int rows = height < width ? spec.resize : longer;
        int targetColumns = height < width ? longer : spec.resize;
        int start = Math.floorDiv(targetColumns - spec.width, 2);
        int top = Math.floorDiv(rows - spec.height, 2);
        for (int i = 0; i < spec.width; i++) {
            float position = position(width, targetColumns, start + i);
            int index = (int) Math.floor(position);
            float fraction = position - index;
            if (index < 0 || index >= width - 1) {
                fraction = 0;
                index = Math.min(Math.max(index, 0), width - 1);
            }
            left[i] = index;
            right[i] = Math.min(index + 1, width - 1);
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
