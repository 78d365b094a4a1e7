import { FormatError, UnsupportedError } from "../../errors.ts";
import { readAbsmax } from "../../io/bitsandbytes.ts";
import { type Checkpoint, edited } from "../../io/checkpoint.ts";
import { dequantizeNf4, NF4_BLOCK } from "../../io/nf4.ts";
import { readAdapter } from "../../io/peft.ts";
import {
  bytesOf,
  DTYPE_BYTES,
  type Dtype,
  f32ToBf16,
  f32ToF16,
  findNonFinite,
  toFloat32,
} from "../../io/safetensors.ts";
import type { Folder } from "../../io/storage.ts";
import type { MergeRows } from "../adapters/adapter.ts";
import { lora } from "../adapters/lora.ts";
import { savedTables } from "../adapters/tables.ts";
import { type TrainedRows, trainedRows, unties } from "../adapters/token-rows.ts";
import { EMBEDDING, HEAD } from "../architectures/tensors.ts";
import { parseModelConfig } from "../config.ts";
import { openAdapterFor } from "./load.ts";

/** Elements of a weight that are merged at once. */
const PIECE = 1 << 20;

/** Dtypes for a merged model. */
export type FloatDtype = "F32" | "F16" | "BF16";

/** A tensor of a model with an adapter merged in, read and merged one piece at a time. */
export interface MergedTensor {
  name: string;
  /** the base model's; BF16 if that is stored in 4 bits */
  dtype: Dtype;
  shape: readonly number[];
  /** f32 values, in whole rows. @throws {FormatError} a value that is not finite */
  rows(): AsyncGenerator<Float32Array>;
  /**
   * Little-endian elements of `dtype`, rounded to nearest even; unchanged tensors keep the base model's bytes.
   * @throws {FormatError} a value that is not finite
   * @throws {UnsupportedError} a value that `dtype` cannot hold
   */
  bytes(dtype: Dtype): AsyncGenerator<Uint8Array>;
}

/**
 * The tensors of a model with an adapter merged in, W + s·B·A, summed in f32. Memory holds only one module's adapter
 * matrices and a piece of its weight at once.
 *
 * @param adapterFolder a PEFT folder; null: the model unchanged
 * @throws {FormatError} an adapter for another base model
 * @throws {UnsupportedError} base weights under an adapter that are neither f32, f16 nor bf16
 */
export async function mergedTensors(checkpoint: Checkpoint, adapterFolder: Folder | null): Promise<MergedTensor[]> {
  const replaced = new Map<string, () => Promise<Float32Array>>();
  const config = parseModelConfig(checkpoint.config, `${checkpoint.folder.path}/config.json`);
  const opened = adapterFolder && (await openAdapterFor(config, adapterFolder, checkpoint));
  const merges = new Map<string, () => Promise<MergeRows>>();
  if (opened) {
    const { adapter, lora: settings } = opened;
    for (const target of lora.targets(config, settings)) {
      merges.set(`${target.path}.weight`, () => lora.merge(target, (name) => adapter.read(name)));
    }
    for (const { table, name } of savedTables(config, settings)) replaced.set(table, () => adapter.read(name));
    for (const rows of trainedRows(config, settings)) {
      for (const table of rows.tables) merges.set(table, async () => replaceRows(rows, await adapter.read(rows.name)));
    }
  }
  return [...checkpoint.weights].map(([name, { dtype: lies, shape }]): MergedTensor => {
    const merge = merges.get(name);
    const quantized = checkpoint.nf4.has(name);
    const dtype = quantized ? "BF16" : (lies as Dtype);
    if (merge && !isFloat(dtype)) {
      throw new UnsupportedError(`Cannot merge into ${name}: its weights are ${dtype}, not F32, F16, BF16 or NF4`);
    }
    const table = replaced.get(name);
    const rows = () =>
      table
        ? pieces(checkpoint, name, async () => {
            const values = await table();
            return async (from, to) => values.subarray(from, to);
          })
        : mergedRows(checkpoint, name, merge ?? null);
    const same = (to: Dtype) => !merge && !table && !quantized && to === dtype;
    return {
      name,
      dtype,
      shape,
      rows,
      bytes: (to) => (same(to) ? plain(checkpoint, name) : stored(rows(), to, name)),
    };
  });
}

/** Puts an adapter's rows into a table. @param values of the rows, one after another */
function replaceRows({ ids, shape: [, width] }: TrainedRows, values: Float32Array): MergeRows {
  return (weight, row) => {
    ids.forEach((id, i) => {
      const at = (id - row) * width;
      if (at >= 0 && at < weight.length) weight.set(values.subarray(i * width, (i + 1) * width), at);
    });
  };
}

const isFloat = (dtype: Dtype): dtype is FloatDtype => dtype === "F32" || dtype === "F16" || dtype === "BF16";

/**
 * The checkpoint that an adapter is merged into: the base, with a head of its own if the adapter replaces the embedding or the head of
 * a model that ties them, or different rows of the two.
 */
export async function mergedBase(checkpoint: Checkpoint, adapterFolder: Folder | null): Promise<Checkpoint> {
  const config = parseModelConfig(checkpoint.config, `${checkpoint.folder.path}/config.json`);
  if (!adapterFolder || !config.tie_word_embeddings) return checkpoint;
  const adapter = (await readAdapter(adapterFolder)).config;
  if (savedTables(config, adapter).length === 0 && !unties(config, trainedRows(config, adapter))) return checkpoint;
  const withHead = <T extends object>(map: ReadonlyMap<string, T>) =>
    new Map([...map, [HEAD, { ...map.get(EMBEDDING)!, name: HEAD }]]);
  return {
    ...checkpoint,
    config: edited(checkpoint.config, { tie_word_embeddings: false }),
    tensors: withHead(checkpoint.tensors),
    weights: withHead(checkpoint.weights),
    read: (name, start, end) => checkpoint.read(name === HEAD ? EMBEDDING : name, start, end),
  };
}

/** Reads elements `[from, to)` of a tensor, as f32. */
type ReadValues = (from: number, to: number) => Promise<Float32Array>;

function mergedRows(
  checkpoint: Checkpoint,
  name: string,
  open: (() => Promise<MergeRows>) | null,
): AsyncGenerator<Float32Array> {
  return pieces(checkpoint, name, () => valuesOf(checkpoint, name), open);
}

/** A tensor's values in whole rows, merged. */
async function* pieces(
  checkpoint: Checkpoint,
  name: string,
  source: () => Promise<ReadValues>,
  open: (() => Promise<MergeRows>) | null = null,
): AsyncGenerator<Float32Array> {
  const { shape } = checkpoint.weights.get(name)!;
  const inner = shape.at(-1) ?? 1;
  const out = shape.slice(0, -1).reduce((product, extent) => product * extent, 1);
  const read = await source();
  const merge = open && (await open());
  const step = Math.max(1, Math.floor(PIECE / inner));
  for (let row = 0; row < out; row += step) {
    const end = Math.min(row + step, out);
    const values = await read(row * inner, end * inner);
    merge?.(values, row);
    const bad = findNonFinite(bytesOf(values), "F32");
    if (bad >= 0) {
      throw new FormatError(
        `Cannot export ${checkpoint.folder.path}: ${name}${merge ? ", merged with the adapter," : ""} holds a value that is not finite, at element ${row * inner + bad} of [${shape}]`,
      );
    }
    yield values;
  }
}

/** Reads elements `[from, to)` of a weight as f32, into an array that the caller may change. */
async function valuesOf(checkpoint: Checkpoint, name: string): Promise<ReadValues> {
  const nf4 = checkpoint.nf4.get(name);
  if (!nf4) {
    const { dtype } = checkpoint.tensors.get(name)!;
    const width = DTYPE_BYTES[dtype];
    return async (from, to) => {
      const values = toFloat32(await checkpoint.read(name, from * width, to * width), dtype);
      return dtype === "F32" ? values.slice() : values; // f32 is a view of the bytes read
    };
  }
  const absmax = await readAbsmax(nf4);
  return async (from, to) => {
    const block = Math.floor(from / NF4_BLOCK);
    const first = block * NF4_BLOCK;
    const codes = await checkpoint.read(name, first / 2, Math.ceil(to / 2));
    return dequantizeNf4(codes, absmax.subarray(block), to - first).subarray(from - first);
  };
}

async function* stored(rows: AsyncIterable<Float32Array>, dtype: Dtype, name: string): AsyncGenerator<Uint8Array> {
  if (!isFloat(dtype)) throw new UnsupportedError(`Cannot store ${name} as ${dtype}, only as F32, F16 or BF16`);
  for await (const values of rows) {
    const bytes = bytesOf(dtype === "F32" ? values : dtype === "F16" ? f32ToF16(values) : f32ToBf16(values));
    const large = findNonFinite(bytes, dtype);
    if (large >= 0) {
      throw new UnsupportedError(
        `Cannot store ${name} as ${dtype}: it holds ${values[large]}, which is outside ${dtype}'s range`,
      );
    }
    yield bytes;
  }
}

async function* plain(checkpoint: Checkpoint, name: string): AsyncGenerator<Uint8Array> {
  const { begin, end, dtype } = checkpoint.tensors.get(name)!;
  const size = end - begin;
  for (let at = 0; at < size; at += 4 * PIECE) {
    const bytes = await checkpoint.read(name, at, Math.min(at + 4 * PIECE, size));
    const bad = findNonFinite(bytes, dtype);
    if (bad >= 0) {
      const element = at / DTYPE_BYTES[dtype] + bad;
      throw new FormatError(
        `Cannot export ${checkpoint.folder.path}: ${name} holds a value that is not finite, at element ${element}`,
      );
    }
    yield bytes;
  }
}
