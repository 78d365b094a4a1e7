import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import type { ImageDecoder, ImageType } from "../../io/images.ts";

/** What decoders return; the runtime may lack the class. */
class Picture {
  readonly data: Uint8ClampedArray;
  readonly width: number;
  readonly height: number;

  constructor(data: Uint8ClampedArray, width: number, height: number) {
    this.data = data;
    this.width = width;
    this.height = height;
  }
}

type Decode = (bytes: ArrayBuffer) => Promise<{ width: number; height: number; data: ArrayLike<number> }>;

const WASM: Record<ImageType, string> = {
  png: "@jsquash/png/codec/pkg/squoosh_png_bg.wasm",
  jpeg: "@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm",
  webp: "@jsquash/webp/codec/dec/webp_dec.wasm",
};

/** Decoders by type, loaded when the first image of the type is read. */
const loaded = new Map<ImageType, Promise<Decode>>();

async function load(type: ImageType): Promise<Decode> {
  const globals = globalThis as { ImageData?: unknown };
  globals.ImageData ??= Picture; // the decoders create their results with it
  const file = createRequire(import.meta.url).resolve(WASM[type]);
  const module = await WebAssembly.compile(await readFile(file));
  if (type === "png") {
    const { default: decode, init } = await import("@jsquash/png/decode.js");
    await init(module);
    return decode as Decode;
  }
  const { default: decode, init } =
    type === "jpeg" ? await import("@jsquash/jpeg/decode.js") : await import("@jsquash/webp/decode.js");
  const start = init as (module: WebAssembly.Module, options: object) => Promise<void>; // its types lack the module
  await start(module, { print: () => {}, printErr: () => {} }); // its complaints would go to the terminal
  return decode as Decode;
}

/** Decodes images in Node and Deno with jSquash: WebAssembly of libpng's Rust port, mozjpeg and libwebp. */
export const decodeNodeImage: ImageDecoder = async (bytes, type) => {
  if (!loaded.has(type)) loaded.set(type, load(type));
  const decode = await loaded.get(type)!;
  try {
    return await decode(new Uint8Array(bytes).buffer);
  } catch (error) {
    loaded.delete(type); // its memory may be damaged
    throw error instanceof Error ? error : new Error(String(error));
  }
};
