import { DataError, FormatError, UnsupportedError } from "../../errors.ts";
import { show } from "../../text/show.ts";
import type { Pixels } from "./pixels.ts";
import { resizeBicubic } from "./resize.ts";

/** The fields of a preprocessor_config.json that Qwench needs, under the same names. */
export interface ImageProcessor {
  /** least and most pixels of a resized image */
  size: { shortest_edge: number; longest_edge: number };
  /** pixels of a patch's side, frames of a patch, and patches of a merged patch's side */
  patch_size: number;
  temporal_patch_size: number;
  merge_size: number;
  /** of red, green and blue, after the rescaling to 0 … 1 */
  image_mean: readonly number[];
  image_std: readonly number[];
}

/** An image as the model's vision tower takes it. */
interface ProcessedImage {
  /** [patches, 3 · frames · size · size]: patches block by block of merge × merge */
  pixels: Float32Array;
  /** frames (1), rows and columns of patches */
  grid: readonly [number, number, number];
}

/** Longer images have no sensible size: transformers' limit too. */
const MOST_RATIO = 200;
/** What is allowed to be read: the processor class of every Qwen since Qwen2-VL. */
const TYPES = ["Qwen2VLImageProcessor", "Qwen2VLImageProcessorFast", "Qwen2VLImageProcessorPil"];

type Json = Readonly<Record<string, unknown>>;

/**
 * Reads a preprocessor_config.json.
 *
 * @param json null: the file is missing, and `defaults` is all
 * @param defaults the sizes of the model's vision_config
 * @throws {FormatError} a size that is not a positive integer, or one that the model's tower does not have
 * @throws {UnsupportedError} another processor, or a step that is turned off
 */
export function parseProcessor(
  json: Json | null,
  defaults: Pick<ImageProcessor, "patch_size" | "temporal_patch_size" | "merge_size">,
  file = "preprocessor_config.json",
): ImageProcessor {
  const given = json ?? {};
  const type = given.image_processor_type ?? TYPES[0];
  if (!TYPES.includes(type as string))
    throw new UnsupportedError(`Cannot use ${file}: image_processor_type is ${show(type)}; ${TYPES[0]} is implemented`);
  for (const step of ["do_resize", "do_rescale", "do_normalize", "do_convert_rgb"]) {
    if ((given[step] ?? true) !== true)
      throw new UnsupportedError(`Cannot use ${file}: ${step} is ${show(given[step])}; it must be true`);
  }
  const { resample = 3, rescale_factor: factor = 1 / 255 } = given;
  if (resample !== 3)
    throw new UnsupportedError(`Cannot use ${file}: resample is ${show(resample)}; it must be 3, bicubic`);
  if (typeof factor !== "number" || Math.abs(factor * 255 - 1) > 1e-6)
    throw new UnsupportedError(`Cannot use ${file}: rescale_factor is ${show(factor)}; it must be 1/255`);
  const integer = (value: unknown, name: string): number => {
    if (Number.isInteger(value) && (value as number) > 0 && (value as number) <= 2 ** 31) return value as number;
    throw new FormatError(`Cannot use ${file}: ${name} must be a positive integer, got ${show(value)}`);
  };
  const size = (typeof given.size === "object" && given.size !== null ? given.size : {}) as Json;
  const least = given.min_pixels ?? size.shortest_edge ?? size.min_pixels ?? 65_536;
  const most = given.max_pixels ?? size.longest_edge ?? size.max_pixels ?? 16_777_216;
  const fixed = (name: keyof typeof defaults): number => {
    const value = integer(given[name] ?? defaults[name], name);
    if (value === defaults[name]) return value;
    throw new FormatError(`Cannot use ${file}: ${name} is ${value}; the model's vision_config has ${defaults[name]}`);
  };
  return {
    size: { shortest_edge: integer(least, "size.shortest_edge"), longest_edge: integer(most, "size.longest_edge") },
    patch_size: fixed("patch_size"),
    temporal_patch_size: fixed("temporal_patch_size"),
    merge_size: fixed("merge_size"),
    image_mean: colours(given.image_mean ?? [0.5, 0.5, 0.5], "image_mean", file),
    image_std: colours(given.image_std ?? [0.5, 0.5, 0.5], "image_std", file),
  };
}

function colours(value: unknown, name: string, file: string): readonly number[] {
  const fits = Array.isArray(value) && value.length === 3 && value.every((n) => typeof n === "number" && n > 0);
  if (fits) return value;
  throw new FormatError(`Cannot use ${file}: ${name} must be three positive numbers, got ${show(value)}`);
}

/** Rounds halves to the even neighbour, as Python does. */
function roundEven(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/**
 * The size that an image is resized to: sides are multiples of a merged patch, the ratio stays close, the pixels are within the
 * processor's limits.
 *
 * @throws {DataError} one side more than 200 times the other
 * @see transformers, models/qwen2_vl/image_processing_qwen2_vl.py, smart_resize
 */
export function smartResize(
  { width, height }: { width: number; height: number },
  { size, patch_size, merge_size }: ImageProcessor,
): { width: number; height: number } {
  const ratio = Math.max(width, height) / Math.min(width, height);
  if (!(ratio <= MOST_RATIO)) {
    throw new DataError(
      `Cannot use an image of ${width} × ${height} pixels: one side may be at most ${MOST_RATIO} times the other`,
    );
  }
  const unit = patch_size * merge_size;
  const { shortest_edge: least, longest_edge: most } = size;
  const [rows, columns] = [height, width].map((side) => roundEven(side / unit) * unit);
  if (rows * columns > most) {
    const beta = Math.sqrt((height * width) / most);
    const [down, across] = [height, width].map((side) => Math.max(unit, Math.floor(side / beta / unit) * unit));
    return { height: down, width: across };
  }
  if (rows * columns < least) {
    const beta = Math.sqrt(least / (height * width));
    const [down, across] = [height, width].map((side) => Math.ceil((side * beta) / unit) * unit);
    return { height: down, width: across };
  }
  return { height: rows, width: columns };
}

/** Resizes, normalises and cuts an image into patches. @throws as smartResize */
export function processImage(image: Pixels, processor: ImageProcessor): ProcessedImage {
  const { width, height } = smartResize(image, processor);
  const { data } = resizeBicubic(image, width, height);
  const { patch_size: size, merge_size: merge, temporal_patch_size: frames, image_mean, image_std } = processor;
  const [down, across] = [height / size, width / size];
  const plane = size * size;
  const pixels = new Float32Array(down * across * 3 * frames * plane);
  // (value / 255 − mean) / std in f32, as transformers fuses it
  const [mean, std] = [image_mean, image_std].map((values) => values.map((value) => Math.fround(value * 255)));
  let patch = 0;
  for (let blockRow = 0; blockRow < down; blockRow += merge) {
    for (let blockColumn = 0; blockColumn < across; blockColumn += merge) {
      for (let p = 0; p < merge * merge; p++, patch++) {
        const top = (blockRow + Math.floor(p / merge)) * size;
        const left = (blockColumn + (p % merge)) * size;
        for (let colour = 0; colour < 3; colour++) {
          const to = (patch * 3 + colour) * frames * plane;
          for (let i = 0; i < plane; i++) {
            const from = 3 * ((top + Math.floor(i / size)) * width + left + (i % size)) + colour;
            pixels[to + i] = (data[from] - mean[colour]) / std[colour];
          }
          for (let frame = 1; frame < frames; frame++) pixels.copyWithin(to + frame * plane, to, to + plane);
        }
      }
    }
  }
  return { pixels, grid: [1, down, across] };
}
