package org.ghostedge.core;

import java.util.Arrays;

/** A tensor's type, shape and quantisation; real value = (integer - zeroPoint) * scale, scale 0: not quantised. */
public final class TensorInfo {
    /** The types that models of ghostedge take and give. */
    public enum Type {
        FLOAT32(4),
        UINT8(1),
        INT8(1);

        public final int bytes;

        Type(int bytes) {
            this.bytes = bytes;
        }
    }

    public final Type type;
    public final int[] shape;
    public final float scale;
    public final int zeroPoint;

    public TensorInfo(Type type, int[] shape, float scale, int zeroPoint) {
        this.type = type;
        this.shape = shape.clone();
        this.scale = scale;
        this.zeroPoint = zeroPoint;
    }

    /** How many values it holds. */
    public int size() {
        int size = 1;
        for (int side : shape) {
            size *= side;
        }
        return size;
    }

    /** As numpy names it. */
    public String dtype() {
        return type == Type.FLOAT32 ? "float32" : type == Type.UINT8 ? "uint8" : "int8";
    }

    /** Throws: DemoException unless this is the input of one image as {@code spec} describes it. */
    void check(InputSpec spec) throws DemoException {
        if (!Arrays.equals(shape, spec.shape())) {
            throw new DemoException("the model takes " + Arrays.toString(shape) + ", its description says "
                    + Arrays.toString(spec.shape()) + "; export it again");
        }
        boolean direct = spec.uint8 ? type == Type.UINT8 : type == Type.FLOAT32;
        if (!direct && !(type != Type.FLOAT32 && scale > 0 && !spec.uint8)) {
            throw new DemoException("the model takes " + dtype() + ", its description says "
                    + (spec.uint8 ? "uint8" : "float32") + "; export it again");
        }
    }
}
