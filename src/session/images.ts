import { upright, withoutAlpha } from "../data/images/pixels.ts";
import { type ImageProcessor, parseProcessor, processImage, smartResize } from "../data/images/processor.ts";
import { type ImageValue, takeImages } from "../data/images/rows.ts";
import type { RowSource } from "../data/paced-rows.ts";
import type { NumberedRow, RowImage } from "../data/row-error.ts";
import { DataError, QwenchError, UnsupportedError } from "../errors.ts";
import { type Checkpoint, readJson } from "../io/checkpoint.ts";
import { decodeImage, type ImageDecoder, readImageHeader } from "../io/images.ts";
import { Sha256 } from "../io/sha256.ts";
import type { Folder } from "../io/storage.ts";
import { towerOf } from "../model/architectures/tensors.ts";
import type { ModelConfig } from "../model/config.ts";
import type { Transformer } from "../model/transformer.ts";
import { type BatchImages, joinImages, type SeenImages } from "../model/vision/images.ts";
import type { ImageGrid } from "../model/vision/places.ts";
import { formatBytes } from "../text/bytes.ts";
import { isObject } from "../text/json.ts";

/** How a surface reads images. */
export interface ImageAccess {
  decode: ImageDecoder;
  /**
   * Reads the file at a path or URL of a row.
   *
   * @param from the file of the row, which paths may be relative to
   * @throws {NotFoundError} no such file
   */
  read(address: string, from: string): Promise<Uint8Array>;
  /** where features are kept between runs, and images that rows hold themselves; null: nowhere */
  cache: Folder | null;
  /** bytes of images that rows hold themselves (Parquet, data URLs) and that stay in memory; more go to the cache; default 256 MiB */
  holds?: number;
}

/**
 * Opens the images of a run's rows for its model; null if the model has no vision tower. A session gets it from its caller, so that
 * surfaces without images need none of the code.
 */
export type ImageOpener = (checkpoint: Checkpoint, config: ModelConfig) => Promise<Images | null>;

/** Images of rows, read as `access` says. */
export function imagesFrom(access: ImageAccess): ImageOpener {
  return (checkpoint, config) => Images.open(access, checkpoint, config);
}

const PROCESSOR_FILE = "preprocessor_config.json";
const WHOLE_FILE = "processor_config.json";
/** Features or patches kept in memory, in bytes; more are read from the cache or the image again. */
const MEMORY_BYTES = 512 << 20;
/** The default of `holds`. */
const HELD_BYTES = 256 << 20;
/** Changes with the meaning of the files in the cache. */
const VERSION = 1;

const yes = () => true;
const no = () => false;

/** Where an image can be read again. */
interface Place {
  /** `cached`: a file of the cache */
  value: ImageValue | { cached: string };
  /** names it in errors */
  what: string;
  /** the file of its row */
  from: string;
}

/** The images of a run's rows: opened row by row, their features computed when a step first needs them. */
export class Images {
  /** the largest image seen so far, in patches; null: none yet */
  largest: ImageGrid | null = null;
  private readonly access: ImageAccess;
  private readonly checkpoint: Checkpoint;
  private readonly config: ModelConfig;
  private readonly processor: ImageProcessor;
  private readonly places = new Map<string, Place>();
  /** features, and patches for a trained tower; the most recently used last */
  private readonly known = new Map<string, Float32Array>();
  private bytes = 0;
  /** bytes in `places` */
  private held = 0;
  private keeps = true;
  private weights: string | null = null;

  private constructor(access: ImageAccess, checkpoint: Checkpoint, config: ModelConfig, processor: ImageProcessor) {
    this.access = access;
    this.checkpoint = checkpoint;
    this.config = config;
    this.processor = processor;
  }

  /**
   * Reads the image processor of a model.
   *
   * @returns null if the model has no vision tower
   */
  static async open(access: ImageAccess, checkpoint: Checkpoint, config: ModelConfig): Promise<Images | null> {
    const { vision } = config;
    if (!vision) return null;
    const { folder } = checkpoint;
    const own = await objectIn(folder, PROCESSOR_FILE);
    // transformers 5 saves the settings of an image processor within those of the whole processor
    const whole = own ? null : await objectIn(folder, WHOLE_FILE);
    const json = own ?? (isObject(whole?.image_processor) ? whole.image_processor : null);
    const file = `${folder.path}/${own || !whole ? PROCESSOR_FILE : WHOLE_FILE}`;
    const { patch_size, temporal_patch_size, spatial_merge_size: merge_size } = vision;
    const processor = parseProcessor(json, { patch_size, temporal_patch_size, merge_size }, file);
    return new Images(access, checkpoint, config, processor);
  }

  /** Rows with their images opened: only headers are read. @throws {DataError} an image that cannot be used, with its row */
  async *rows(rows: RowSource): AsyncGenerator<NumberedRow> {
    for await (const source of rows) yield await this.row(source);
  }

  /** One row with its images opened; rows without images stay as they are. */
  async row(source: NumberedRow): Promise<NumberedRow> {
    const taken = takeImages(source);
    if (!taken) return source;
    const images: RowImage[] = [];
    for (const [i, value] of taken.images.entries()) {
      const name = "address" in value && !value.address.startsWith("data:") ? ` ${value.address.slice(0, 200)}` : "";
      const place = { value, what: `${source.file}, row ${source.number}: image ${i + 1}${name}`, from: source.file };
      images.push(await this.image(place));
    }
    return { ...source, row: taken.row, images };
  }

  /** Features of an image after the model's tower, `[tokens, hidden]`: from memory, the cache, or computed and kept. */
  async features(model: Transformer, image: RowImage): Promise<Float32Array> {
    const adapter = model.tower?.adapterKey ?? "";
    const found = this.recall(`${image.key}${adapter}`);
    if (found) return found;
    const { cache } = this.access;
    const name = cache && `${await this.fileKey(image, adapter)}.f32`;
    const made = (name && (await this.stored(name, image))) || (await this.compute(model, image));
    if (name && this.keeps && !(await cache.exists(name))) {
      // a full disk must not end a run that needs no cache
      const written = cache.write(name, new Uint8Array(made.buffer, made.byteOffset, made.byteLength));
      this.keeps = await written.then(yes, no);
    }
    this.remember(`${image.key}${adapter}`, made);
    return made;
  }

  /** Patches of an image: from memory, or read again and processed. */
  private async patches(image: RowImage): Promise<Float32Array> {
    const key = `${image.key}.patches`;
    const found = this.recall(key);
    if (found) return found;
    const made = await this.process(image);
    this.remember(key, made);
    return made;
  }

  /** The file of an image, as its row names it. @throws {DataError} it has changed since */
  async bytesOf({ key }: Pick<RowImage, "key">): Promise<Uint8Array> {
    const place = this.places.get(key)!;
    const bytes = await this.read(place);
    if (new Sha256().update(bytes).hex() === key) return bytes;
    throw new DataError(`${place.what}: the file has changed since its row was read`);
  }

  /** The features of a prompt's images; null if it has none. */
  async seen(model: Transformer, { images = [] }: Pick<NumberedRow, "images">): Promise<SeenImages | null> {
    if (images.length === 0) return null;
    const all: SeenImages[] = [];
    for (const image of images) all.push({ features: await this.features(model, image), grids: [image.grid] });
    return joinImages(all);
  }

  /** What a pass in training sees of images: features of a frozen tower, or patches for one that is trained. */
  async view(model: Transformer, images: readonly RowImage[]): Promise<BatchImages> {
    if (!model.tower?.trained) return (await this.seen(model, { images }))!;
    const all: Float32Array[] = [];
    for (const image of images) all.push(await this.patches(image));
    return { pixels: joined(all), grids: images.map(({ grid }) => grid) };
  }

  private async image(place: Place): Promise<RowImage> {
    const bytes = await this.read(place);
    const { width, height, orientation } = readImageHeader(bytes, place.what);
    const turned = orientation >= 5 ? { width: height, height: width } : { width, height };
    const { patch_size, merge_size } = this.processor;
    let size: { width: number; height: number };
    try {
      size = smartResize(turned, this.processor);
    } catch (error) {
      throw new DataError(`${place.what}: ${(error as Error).message}`);
    }
    const grid = [1, size.height / patch_size, size.width / patch_size] as const;
    const key = new Sha256().update(bytes).hex();
    if (!this.places.has(key)) this.places.set(key, await this.hold(place, key, bytes));
    if (!this.largest || grid[1] * grid[2] > this.largest[1] * this.largest[2]) this.largest = grid;
    return { key, grid, tokens: (grid[1] * grid[2]) / merge_size ** 2 };
  }

  /** Where an image is read again: its file, this memory up to a limit, then the cache. */
  private async hold(place: Place, key: string, bytes: Uint8Array): Promise<Place> {
    const { value } = place;
    if ("address" in value && !value.address.startsWith("data:")) return place;
    const { cache, holds = HELD_BYTES } = this.access;
    if (cache && this.keeps && this.held + bytes.length > holds) {
      const cached = `${key}.image`;
      // a full disk must not end a run that memory may be enough for
      const kept = (await cache.exists(cached)) && (await cache.open(cached)).size === bytes.length;
      const there = kept || (await cache.write(cached, bytes).then(yes, no));
      if (there) return { ...place, value: { cached } };
      this.keeps = false;
    }
    this.held += bytes.length;
    return { ...place, value: { bytes } };
  }

  /** What the user should know about the images that rows hold themselves. */
  get notes(): string[] {
    const { holds = HELD_BYTES } = this.access;
    if (this.held <= holds) return [];
    return [
      `the rows hold ${formatBytes(this.held)} of images, which stay in this machine's memory: there is no cache for them. Files and http(s) addresses are read again when a step needs them`,
    ];
  }

  private async read({ value, what, from }: Place): Promise<Uint8Array> {
    if ("bytes" in value) return value.bytes;
    if ("cached" in value) {
      const source = await this.access.cache!.open(value.cached);
      return source.read(0, source.size);
    }
    if (value.address.startsWith("data:")) return dataUrl(value.address, what);
    try {
      return await this.access.read(value.address, from);
    } catch (error) {
      if (!(error instanceof QwenchError)) throw error;
      throw new DataError(`${what}: ${error.message}`, { cause: error });
    }
  }

  private async compute(model: Transformer, image: RowImage): Promise<Float32Array> {
    const { tower, gpu } = model;
    if (!tower) throw new UnsupportedError("Cannot see images: the model was loaded without its vision tower");
    const pixels = await this.process(image);
    const record = gpu.recorder();
    const read = record.scope(() => record.read(tower.forward(record, { pixels, grids: [image.grid] }).features));
    record.submit();
    const features = new Float32Array(await read);
    gpu.endStep(); // a step may now take the tower's buffers
    return features;
  }

  /** Decodes and processes an image. @returns its patches */
  private async process(image: RowImage): Promise<Float32Array> {
    const { what } = this.places.get(image.key)!;
    const { orientation, ...raw } = await decodeImage(await this.bytesOf(image), what, this.access.decode);
    return processImage(upright(withoutAlpha(raw), orientation), this.processor).pixels;
  }

  /** Features in the cache; null: none, or a file of another length. */
  private async stored(name: string, { tokens }: RowImage): Promise<Float32Array | null> {
    const { cache } = this.access;
    if (!cache || !(await cache.exists(name))) return null;
    const source = await cache.open(name);
    if (source.size !== 4 * tokens * this.config.hidden_size) return null;
    return new Float32Array(new Uint8Array(await source.read(0, source.size)).buffer);
  }

  /** What is in memory under a key; null: nothing. */
  private recall(key: string): Float32Array | null {
    const found = this.known.get(key);
    if (!found) return null;
    this.known.delete(key);
    this.known.set(key, found);
    return found;
  }

  private remember(key: string, values: Float32Array): void {
    this.known.set(key, values);
    this.bytes += values.byteLength;
    for (const [oldest, { byteLength }] of this.known) {
      if (this.bytes <= MEMORY_BYTES || oldest === key) break;
      this.known.delete(oldest);
      this.bytes -= byteLength;
    }
  }

  /** Of the image, the processor, the tower's weights and its adapter. */
  private async fileKey({ key }: RowImage, adapter: string): Promise<string> {
    this.weights ??= await this.weightsKey();
    return new Sha256().update(new TextEncoder().encode(`${VERSION} ${key} ${this.weights}${adapter}`)).hex();
  }

  private async weightsKey(): Promise<string> {
    const { checkpoint, config, processor } = this;
    const hash = new Sha256().update(new TextEncoder().encode(JSON.stringify([processor, config.vision])));
    for (const name of towerOf(config)!.tensors.keys()) hash.update(await checkpoint.read(name));
    return hash.hex();
  }
}

/** An object in a file; null: no such file. */
async function objectIn(folder: Folder, name: string): Promise<Record<string, unknown> | null> {
  return (await folder.exists(name)) ? readJson(folder, name) : null;
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((n, { length }) => n + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** The bytes of a data URL. */
function dataUrl(address: string, what: string): Uint8Array {
  const comma = address.indexOf(",");
  try {
    if (comma > 0 && address.slice(0, comma).endsWith(";base64"))
      return Uint8Array.from(atob(address.slice(comma + 1)), (c) => c.charCodeAt(0));
  } catch {
    // no base64
  }
  throw new DataError(`${what}: a data URL of an image must be data:image/…;base64, and then base64`);
}
