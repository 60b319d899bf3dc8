// Pictures of this phone: files and the camera, as the pixels that preprocessing takes.
import { resizeAndCrop } from "./preprocess.js";
const canvas = document.createElement("canvas");
function pixels(source, width, height) {
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(source, 0, 0);
    return context.getImageData(0, 0, width, height).data;
}
/** The crop of an encoded picture. `upright`: turned as its EXIF says; images of a data set are not turned. */
export async function cropOf(file, spec, upright) {
    const picture = await createImageBitmap(file, {
        imageOrientation: upright ? "from-image" : "none",
        colorSpaceConversion: "none",
        premultiplyAlpha: "none",
    }).catch(() => {
        throw new Error("the browser cannot decode this picture");
    });
    try {
        return resizeAndCrop(pixels(picture, picture.width, picture.height), picture.height, picture.width, spec);
    }
    finally {
        picture.close();
    }
}
/** The crop of what a camera shows now; null before its first frame. */
export function cropOfVideo(video, spec) {
    const [width, height] = [video.videoWidth, video.videoHeight];
    return width && height ? resizeAndCrop(pixels(video, width, height), height, width, spec) : null;
}
/** Show a crop, as the model sees it. */
export function show(crop, spec, target) {
    target.width = spec.width;
    target.height = spec.height;
    const rgba = new Uint8ClampedArray(4 * spec.width * spec.height).fill(255);
    for (let i = 0; i < spec.width * spec.height; i++)
        rgba.set(crop.subarray(3 * i, 3 * i + 3), 4 * i);
    target.getContext("2d").putImageData(new ImageData(rgba, spec.width, spec.height), 0, 0);
}
