// Rasterise the SVG artwork of the classes and of the distractors: <output>/<style>/<name>.png, `size` pixels wide.
// Usage: node render.mjs OUTPUT SIZE NAMES.txt   (run in the folder that holds node_modules)
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.cwd(), "render.mjs"));
const sharp = require("sharp");
const [output, size, namesFile, ...styles] = process.argv.slice(2);
const names = readFileSync(namesFile, "utf8").split("\n").filter(Boolean);

for (const style of styles) {
  const set = JSON.parse(readFileSync(path.join("node_modules", "@iconify-json", style, "icons.json"), "utf8"));
  mkdirSync(path.join(output, style), { recursive: true });
  for (const name of names) {
    let icon = set.icons[name];
    for (let alias = set.aliases?.[name]; !icon && alias; alias = set.aliases[alias.parent]) icon = set.icons[alias.parent];
    if (!icon) throw new Error(`@iconify-json/${style} has no picture named '${name}'`);
    const [x, y] = [icon.left ?? 0, icon.top ?? 0];
    const [w, h] = [icon.width ?? set.width ?? 16, icon.height ?? set.height ?? 16];
    const svg =
      `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" ` +
      `viewBox="${x} ${y} ${w} ${h}" width="${w}" height="${h}">${icon.body}</svg>`;
    const density = (72 * Number(size)) / w; // librsvg draws one unit as density / 72 pixels
    writeFileSync(path.join(output, style, `${name}.png`), await sharp(Buffer.from(svg), { density }).png().toBuffer());
  }
}
