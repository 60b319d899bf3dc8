// Make a model's input of a picture, bit for bit as ghostedge/data/preprocess.py does (opencv_linear), whose docstrings
// give the rules. Math.fround stands where Python computes in float32.

export interface InputSpec {
  layout: "NCHW" | "NHWC";
  dtype: "float32" | "uint8";
  range: "normalised" | "raw";
  height: number;
  width: number;
  resize: number;
  resize_rule: string;
  mean: [number, number, number];
  std: [number, number, number];
  colour_order: "RGB" | "BGR";
}

export type Pixels = Uint8Array | Float32Array;

/** Rows and columns of a picture whose shorter side becomes `resize`. */
export function resizedSize(height: number, width: number, resize: number): [number, number] {
  const [shorter, longer] = height < width ? [height, width] : [width, height];
  const scaled = Math.trunc(Math.fround(Math.fround(longer / shorter) * resize));
  return height < width ? [resize, scaled] : [scaled, resize];
}

function halfToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

interface Taps {
  first: Int32Array;
  second: Int32Array;
  firstWeight: Int32Array;
  secondWeight: Int32Array;
}

/** Which source pixels the target pixels start .. start + count - 1 read; `ends` is the rule for columns. */
function taps(source: number, target: number, start: number, count: number, ends: boolean): Taps {
  const [first, second] = [new Int32Array(count), new Int32Array(count)];
  const [firstWeight, secondWeight] = [new Int32Array(count), new Int32Array(count)];
  const scale = 1 / (target / source);
  const clip = (index: number): number => Math.min(Math.max(index, 0), source - 1);
  for (let i = 0; i < count; i++) {
    const position = Math.fround((start + i + 0.5) * scale - 0.5);
    const index = Math.floor(position);
    const outside = ends && (index < 0 || index >= source - 1);
    const fraction = outside ? 0 : Math.fround(position - index);
    first[i] = clip(index);
    second[i] = ends ? clip(first[i]! + 1) : clip(index + 1);
    firstWeight[i] = halfToEven(Math.fround(Math.fround(1 - fraction) * 2048));
    secondWeight[i] = halfToEven(Math.fround(fraction * 2048));
  }
  return { first, second, firstWeight, secondWeight };
}

/** Resize and cut out the centre. `rgba`: (height, width, 4), as a canvas gives it. Returns: (spec.height, spec.width, 3). */
export function resizeAndCrop(rgba: ArrayLike<number>, height: number, width: number, spec: InputSpec): Uint8Array {
  const [rows, columns] = resizedSize(height, width, spec.resize);
  const top = Math.floor((rows - spec.height) / 2);
  const left = Math.floor((columns - spec.width) / 2);
  const across = taps(width, columns, left, spec.width, true);
  const down = taps(height, rows, top, spec.height, false);
  const kept = new Map<number, Int32Array>();
  const line = (row: number): Int32Array => {
    const known = kept.get(row);
    if (known) return known;
    const made = new Int32Array(3 * spec.width);
    for (let x = 0, to = 0; x < spec.width; x++) {
      const one = 4 * (row * width + across.first[x]!);
      const two = 4 * (row * width + across.second[x]!);
      for (let c = 0; c < 3; c++) {
        made[to++] = (rgba[one + c]! * across.firstWeight[x]! + rgba[two + c]! * across.secondWeight[x]!) >> 4;
      }
    }
    if (kept.size > 2) kept.delete(kept.keys().next().value!);
    kept.set(row, made);
    return made;
  };
  const out = new Uint8Array(3 * spec.width * spec.height);
  for (let y = 0, to = 0; y < spec.height; y++) {
    const [upper, lower] = [line(down.first[y]!), line(down.second[y]!)];
    const [one, two] = [down.firstWeight[y]!, down.secondWeight[y]!];
    for (let i = 0; i < upper.length; i++) {
      out[to++] = (((upper[i]! * one) >> 16) + ((lower[i]! * two) >> 16) + 2) >> 2;
    }
  }
  return out;
}

/** Give a crop (height, width, 3), RGB, 0..255 the range, colour order, layout and dtype that a model takes. */
export function encode(crop: Pixels, spec: InputSpec): Pixels {
  const size = spec.height * spec.width;
  const out = spec.dtype === "uint8" ? new Uint8Array(3 * size) : new Float32Array(3 * size);
  for (let c = 0; c < 3; c++) {
    const mean = Math.fround(255 * spec.mean[c]!);
    const std = Math.fround(255 * spec.std[c]!);
    const channel = spec.colour_order === "BGR" ? 2 - c : c;
    for (let i = 0; i < size; i++) {
      const value = crop[3 * i + c]!;
      const to = spec.layout === "NHWC" ? 3 * i + channel : channel * size + i;
      out[to] = spec.range === "normalised" ? Math.fround(value - mean) / std : value;
    }
  }
  return out;
}
