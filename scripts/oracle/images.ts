// The image processor beside transformers': 20 images of odd sizes, formats and orientations. Not part of the suite: it needs
// Python with numpy, Pillow and transformers 5.
//
//   npx tsx scripts/oracle/images.ts PYTHON
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { upright, withoutAlpha } from "../../src/data/images/pixels.ts";
import { parseProcessor, processImage } from "../../src/data/images/processor.ts";
import { decodeImage } from "../../src/io/images.ts";
import { decodeNodeImage } from "../../src/platform/node/images.ts";

/** Of resized pixels, 0 to 1. */
const TOLERANCE = 1 / 255;

async function main([python]: string[]): Promise<number> {
  if (!python) {
    console.error("usage: npx tsx scripts/oracle/images.ts PYTHON");
    return 2;
  }
  const folder = mkdtempSync(join(tmpdir(), "qwench-images-"));
  let failed = 0;
  try {
    execFileSync(python, [fileURLToPath(new URL("images.py", import.meta.url)), folder], { stdio: "inherit" });
    const { settings, images } = JSON.parse(readFileSync(join(folder, "images.json"), "utf8"));
    for (const { name, size, grid } of images) {
      const { orientation, ...raw } = await decodeImage(readFileSync(join(folder, name)), name, decodeNodeImage);
      const processor = parseProcessor({ ...settings, size }, settings);
      const made = processImage(upright(withoutAlpha(raw), orientation), processor);
      const bytes = readFileSync(join(folder, `${name}.f32`));
      const want = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
      let [sum, most] = [0, 0];
      want.forEach((value, i) => {
        const difference = Math.abs(value - made.pixels[i]) / 2; // values are −1 to 1
        sum += difference;
        most = Math.max(most, difference);
      });
      const mean = sum / want.length;
      const ok = made.grid.join() === grid.join() && made.pixels.length === want.length && mean <= TOLERANCE;
      if (!ok) failed++;
      console.log(
        `${ok ? "ok  " : "FAIL"}  ${name.padEnd(8)} ${raw.width}×${raw.height} → ${made.grid.join("×")} patches, mean difference ${mean.toExponential(2)}, largest ${most.toExponential(2)}`,
      );
    }
    console.log(`${images.length - failed} of ${images.length} images agree`);
  } finally {
    rmSync(folder, { recursive: true });
  }
  return failed > 0 ? 1 : 0;
}

process.exit(await main(process.argv.slice(2)));
