// Pictures of this phone: files and the camera, as the pixels that preprocessing takes.

import { resizeAndCrop, type InputSpec } from "./preprocess.js";

const canvas = document.createElement("canvas");

function pixels(source: CanvasImageSource, width: number, height: number): Uint8ClampedArray {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  context.drawImage(source, 0, 0);
  return context.getImageData(0, 0, width, height).data;
}

/** The crop of an encoded picture. `upright`: turned as its EXIF says; images of a data set are not turned. */
export async function cropOf(file: Blob, spec: InputSpec, upright: boolean): Promise<Uint8Array> {
  const picture = await createImageBitmap(file, {
    imageOrientation: upright ? "from-image" : ("none" as ImageOrientation),
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  }).catch(() => {
    throw new Error("the browser cannot decode this picture");
  });
  try {
    return resizeAndCrop(pixels(picture, picture.width, picture.height), picture.height, picture.width, spec);
  } finally {
    picture.close();
  }
}

/** The crop of what a camera shows now; null before its first frame. */
export function cropOfVideo(video: HTMLVideoElement, spec: InputSpec): Uint8Array | null {
  const [width, height] = [video.videoWidth, video.videoHeight];
  return width && height ? resizeAndCrop(pixels(video, width, height), height, width, spec) : null;
}

/** Show a crop, as the model sees it. */
export function show(crop: Uint8Array, spec: InputSpec, target: HTMLCanvasElement): void {
  target.width = spec.width;
  target.height = spec.height;
  const rgba = new Uint8ClampedArray(4 * spec.width * spec.height).fill(255);
  for (let i = 0; i < spec.width * spec.height; i++) rgba.set(crop.subarray(3 * i, 3 * i + 3), 4 * i);
  target.getContext("2d")!.putImageData(new ImageData(rgba, spec.width, spec.height), 0, 0);
}
