import { NF4 } from "../../shaders/lib/load.ts";
import { FormatError, UnsupportedError } from "../errors.ts";
import { parseBoundedJson } from "../text/bounded-json.ts";
import { float, formatJson, isObject } from "../text/json.ts";
import { oneLine, show } from "../text/show.ts";
import { toFloat32 } from "./dtype.ts";
import { dynamicMap } from "./dynamic-map.ts";
import { NESTED_BLOCK, NF4_BLOCK, quantizeNf4, unnestAbsmax } from "./nf4.ts";
import { bytesOf, readEntry, type TensorEntry } from "./safetensors.ts";

const STATE = ".quant_state.bitsandbytes__";
/** Most bytes of a state's JSON; real ones have about 200. */
const MAX_STATE_BYTES = 100_000;

/** A weight that a checkpoint stores as bitsandbytes' 4-bit codes. */
interface Nf4Weight {
  /** shape of the values */
  shape: readonly number[];
  /** two codes per byte, the first in the high half */
  codes: TensorEntry;
  /** one f32 per block; u8 codes if `nested` exists */
  absmax: TensorEntry;
  nested: { absmax: TensorEntry; map: TensorEntry; offset: number } | null;
}

/** A checkpoint's tensors, with quantised weights under their values' shapes. */
export interface LogicalTensors {
  /** by name: shapes of values; 4-bit weights have the dtype NF4, and their auxiliary tensors are left out */
  weights: Map<string, { shape: readonly number[]; dtype: string }>;
  nf4: Map<string, Nf4Weight>;
}

/**
 * Finds the weights that bitsandbytes stored: keys `weight`, `weight.absmax`, `weight.quant_map`, with double quantisation
 * `weight.nested_absmax` and `weight.nested_quant_map`, and `weight.quant_state.bitsandbytes__nf4`, a JSON text as bytes.
 *
 * @throws {UnsupportedError} another code than NF4, another block size than 64 or 256 for nested scales
 * @throws {FormatError} a state that is not JSON, missing parts, or inconsistent sizes
 */
export async function readLogicalTensors(
  tensors: ReadonlyMap<string, TensorEntry>,
  where: string,
): Promise<LogicalTensors> {
  const nf4 = new Map<string, Nf4Weight>();
  const parts = new Set<string>();
  for (const [key, entry] of tensors) {
    const at = key.indexOf(STATE);
    if (at < 0) continue;
    const name = key.slice(0, at);
    const kind = key.slice(at + STATE.length);
    if (kind !== "nf4") {
      throw new UnsupportedError(`Cannot load ${where}: ${name} is quantised as ${show(kind)}; only nf4 is supported`);
    }
    parts.add(key);
    nf4.set(name, await readWeight(tensors, name, entry, where, parts));
  }
  const weights = new Map<string, { shape: readonly number[]; dtype: string }>();
  for (const [name, entry] of tensors) {
    if (parts.has(name)) continue;
    const quantized = nf4.get(name);
    weights.set(name, quantized ? { shape: quantized.shape, dtype: "NF4" } : entry);
  }
  return { weights, nf4 };
}

async function readWeight(
  tensors: ReadonlyMap<string, TensorEntry>,
  name: string,
  stateEntry: TensorEntry,
  where: string,
  parts: Set<string>,
): Promise<Nf4Weight> {
  const fail = (why: string): never => {
    throw new FormatError(`Cannot load ${where}: the 4-bit weight ${name} ${why}`);
  };
  const part = (suffix: string, dtype: readonly string[], count?: number): TensorEntry => {
    const entry = tensors.get(`${name}${suffix}`);
    if (!entry) return fail(`lacks ${name}${suffix}`);
    const elements = entry.shape.reduce((n, d) => n * d, 1);
    if (!dtype.includes(entry.dtype)) fail(`has ${name}${suffix} as ${entry.dtype}; it must be ${dtype.join(" or ")}`);
    if (count !== undefined && elements !== count)
      fail(`has ${elements} elements in ${name}${suffix}; it must be ${count}`);
    if (suffix !== "") parts.add(`${name}${suffix}`);
    return entry;
  };
  const state = await readState(stateEntry, fail);
  const { quant_type, blocksize, shape, nested_blocksize, nested_offset } = state;
  if (quant_type !== "nf4")
    throw new UnsupportedError(
      `Cannot load ${where}: ${name} has quant_type ${show(quant_type)}; only nf4 is supported`,
    );
  if (blocksize !== NF4_BLOCK) {
    throw new UnsupportedError(
      `Cannot load ${where}: ${name} has blocks of ${show(blocksize)}; only ${NF4_BLOCK} is supported`,
    );
  }
  if (!Array.isArray(shape) || shape.length === 0 || !shape.every((d) => Number.isSafeInteger(d) && d > 0)) {
    return fail(`has the shape ${show(shape)} in its quant_state`);
  }
  const count = (shape as number[]).reduce((n, d) => n * d, 1);
  const blocks = Math.ceil(count / NF4_BLOCK);
  const codes = part("", ["U8"], Math.ceil(count / 2));
  part(".quant_map", ["F32"], 16);
  if (!tensors.has(`${name}.nested_absmax`) && nested_blocksize === undefined) {
    return { shape: shape as number[], codes, absmax: part(".absmax", ["F32"], blocks), nested: null };
  }
  if (nested_blocksize !== NESTED_BLOCK) {
    throw new UnsupportedError(
      `Cannot load ${where}: ${name} has nested blocks of ${show(nested_blocksize)}; only ${NESTED_BLOCK} is supported`,
    );
  }
  if (typeof nested_offset !== "number" || !Number.isFinite(nested_offset)) {
    return fail(`has the nested_offset ${show(nested_offset)}`);
  }
  return {
    shape: shape as number[],
    codes,
    absmax: part(".absmax", ["U8"], blocks),
    nested: {
      absmax: part(".nested_absmax", ["F32"], Math.ceil(blocks / NESTED_BLOCK)),
      map: part(".nested_quant_map", ["F32"], 256),
      offset: nested_offset,
    },
  };
}

async function readState(entry: TensorEntry, fail: (why: string) => never): Promise<Record<string, unknown>> {
  const size = entry.end - entry.begin;
  if (entry.dtype !== "U8" || size > MAX_STATE_BYTES) fail(`has a quant_state of ${size} bytes of ${entry.dtype}`);
  let value: unknown;
  try {
    value = parseBoundedJson(new TextDecoder("utf-8", { fatal: true }).decode(await readEntry(entry)));
  } catch (error) {
    fail(`has a quant_state that is not JSON (${oneLine((error as Error).message)})`);
  }
  if (!isObject(value)) fail("has a quant_state that is not a JSON object");
  return value as Record<string, unknown>;
}

/** The final scales of a weight's blocks. @throws {FormatError} a scale that is not finite */
export async function readAbsmax({ absmax, nested }: Nf4Weight): Promise<Float32Array> {
  const floats = async (entry: TensorEntry) => Float32Array.from(toFloat32(await readEntry(entry), "F32"));
  const values = nested
    ? unnestAbsmax(
        { codes: await readEntry(absmax), absmax: await floats(nested.absmax), offset: nested.offset },
        await floats(nested.map),
      )
    : await floats(absmax);
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0)
    throw new FormatError(
      `Cannot load ${absmax.source.name}: ${absmax.name} gives block ${bad} the scale ${values[bad]}`,
    );
  return values;
}

/**
 * The tensors that a bitsandbytes 4-bit checkpoint stores for a weight.
 *
 * @param values row-major, `shape`
 * @param dtype compute dtype for transformers
 * @see QuantState.as_dict(packed=True) of bitsandbytes
 */
export function nf4Tensors(
  name: string,
  shape: readonly number[],
  values: Float32Array,
  { double, dtype }: { double: boolean; dtype: "bfloat16" | "float16" | "float32" },
): { name: string; dtype: "U8" | "F32"; shape: number[]; data: Uint8Array }[] {
  const { codes, absmax, nested } = quantizeNf4(values, { double });
  const bytes = (suffix: string, data: Uint8Array, size: number[] = [data.length]) => {
    return { name: `${name}${suffix}`, dtype: "U8" as const, shape: size, data };
  };
  const floats = (suffix: string, data: ArrayLike<number>) => {
    return {
      name: `${name}${suffix}`,
      dtype: "F32" as const,
      shape: [data.length],
      data: bytesOf(Float32Array.from(data)),
    };
  };
  const state = {
    quant_type: "nf4",
    blocksize: NF4_BLOCK,
    dtype,
    shape,
    ...(nested && { nested_blocksize: NESTED_BLOCK, nested_dtype: "float32", nested_offset: float(nested.offset) }),
  };
  return [
    bytes("", codes, [codes.length, 1]),
    ...(nested
      ? [
          bytes(".absmax", nested.codes),
          floats(".nested_absmax", nested.absmax),
          floats(".nested_quant_map", dynamicMap(true)),
        ]
      : [floats(".absmax", absmax)]),
    floats(".quant_map", NF4),
    bytes(`${STATE}nf4`, new TextEncoder().encode(formatJson(state))),
  ];
}

/** `quantization_config` of a config.json whose linear layers are stored in NF4. */
export function nf4Config({ double, dtype }: { double: boolean; dtype: string }): Record<string, unknown> {
  return {
    quant_method: "bitsandbytes",
    load_in_4bit: true,
    load_in_8bit: false,
    bnb_4bit_quant_type: "nf4",
    bnb_4bit_use_double_quant: double,
    bnb_4bit_compute_dtype: dtype,
    bnb_4bit_quant_storage: "uint8",
    llm_int8_skip_modules: ["lm_head"],
    llm_int8_threshold: float(6),
    llm_int8_has_fp16_weight: false,
    llm_int8_enable_fp32_cpu_offload: false,
    _load_in_4bit: true,
    _load_in_8bit: false,
  };
}
