import { beforeAll, describe, expect, test } from "vitest";
import { makeBatch } from "../../../src/data/packing.ts";
import type { TokenizedRow } from "../../../src/data/tokenize.ts";
import { nf4Config, nf4Tensors } from "../../../src/io/bitsandbytes.ts";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { dequantizeNf4, encodeInt8, quantizeNf4 } from "../../../src/io/nf4.ts";
import {
  bytesOf,
  encodeSafetensors,
  openSafetensors,
  type TensorData,
  toFloat32,
} from "../../../src/io/safetensors.ts";
import type { Folder } from "../../../src/io/storage.ts";
import { type LoadOptions, loadModel } from "../../../src/model/files/load.ts";
import { useGpu } from "../../kernels/harness.ts";
import { tinyModel, tinyRows } from "../../train/fixtures.ts";
import { isProjection } from "../projections.ts";

const batch = makeBatch(tinyRows(3).map(({ row }) => row as unknown as TokenizedRow));

/** A checkpoint with changed tensors and config. */
async function rewrite(
  from: Folder,
  make: (name: string, shape: readonly number[], values: Float32Array) => TensorData[],
  config: Record<string, unknown> = {},
): Promise<Folder> {
  const to = memoryFolder("rewritten");
  const file = await openSafetensors(await from.open("model.safetensors"));
  const tensors: TensorData[] = [];
  for (const [name, { dtype, shape }] of file.tensors) {
    tensors.push(...make(name, shape, Float32Array.from(toFloat32(await file.read(name), dtype))));
  }
  await to.write("model.safetensors", encodeSafetensors(tensors));
  await to.write("config.json", JSON.stringify({ ...JSON.parse(await from.readText("config.json")), ...config }));
  return to;
}
const f32 = (name: string, shape: readonly number[], values: Float32Array): TensorData => ({
  name,
  dtype: "F32",
  shape,
  data: bytesOf(values),
});
/** The checkpoint with decoded quantised matrices, all in f32. */
const stoodFor = (from: Folder, of: (values: Float32Array) => Float32Array) =>
  rewrite(from, (name, shape, values) => [f32(name, shape, isProjection(name) ? of(values) : values)]);
const bitsandbytes = (from: Folder, double: boolean, spoil: (tensors: TensorData[]) => TensorData[] = (t) => t) =>
  rewrite(
    from,
    (name, shape, values) =>
      isProjection(name)
        ? spoil(nf4Tensors(name, shape, values, { double, dtype: "bfloat16" }))
        : [f32(name, shape, values)],
    { quantization_config: nf4Config({ double, dtype: "bfloat16" }) },
  );
const throughNf4 = (double: boolean) => (values: Float32Array) => {
  const { codes, absmax } = quantizeNf4(values, { double });
  return dequantizeNf4(codes, absmax, values.length);
};
const throughInt8 = (values: Float32Array) => {
  const [codes, scales] = [new Int8Array(values.length), new Float32Array(Math.ceil(values.length / 64))];
  encodeInt8(values, codes, scales);
  return Float32Array.from(codes, (code, i) => code * scales[i >> 6]);
};

describe("quantised weights", () => {
  const gpu = useGpu();
  let folder: Folder;
  beforeAll(async () => {
    folder = await tinyModel();
  });
  const logits = async (from: Folder, options: LoadOptions = {}) =>
    (await loadModel(gpu(), await openCheckpoint(from), options)).logits(batch);

  test.each([
    ["nf4", { type: "nf4", double: false }, throughNf4(false)],
    ["nf4, double", { type: "nf4", double: true }, throughNf4(true)],
    ["int8", { type: "int8", double: false }, throughInt8],
  ] as const)("%s: the logits are those of the values that codes stand for", async (_, quantization, of) => {
    const want = await logits(await stoodFor(folder, of));
    expect(await logits(folder, { quantization, dtype: "float32" })).toEqual(want);
    expect(want).not.toEqual(await logits(folder));
  });

  test.each([false, true])("bitsandbytes' layout, nested %s, is read directly", async (double) => {
    const want = await logits(await stoodFor(folder, throughNf4(double)));
    const stored = await bitsandbytes(folder, double);
    expect(await logits(stored)).toEqual(want);
    expect(await logits(stored, { quantization: { type: "nf4", double: false } })).toEqual(want);
    await expect(logits(stored, { quantization: { type: "int8", double: false } })).rejects.toThrow(
      /load_in_8bit: model\.layers\.0.*is stored in 4 bits there/,
    );
    await expect(logits(stored, { trained: "all" })).rejects.toThrow(/is stored in 4 bits; set use_peft: true/);
  });

  const named = (end: string, change: (tensor: TensorData) => TensorData[]) => (tensors: TensorData[]) =>
    tensors.flatMap((tensor) => (tensor.name.endsWith(end) ? change(tensor) : [tensor]));
  const state = (change: Record<string, unknown>) =>
    named("bitsandbytes__nf4", (tensor) => {
      const json = JSON.parse(new TextDecoder().decode(tensor.data as Uint8Array));
      const data = new TextEncoder().encode(JSON.stringify({ ...json, ...change }));
      return [{ ...tensor, shape: [data.length], data }];
    });
  const broken: [string, boolean, (tensors: TensorData[]) => TensorData[], RegExp][] = [
    ["no absmax", false, named(".absmax", () => []), /the 4-bit weight model\.layers\.0\S+ lacks \S+\.absmax$/],
    ["no quant_map", false, named(".quant_map", () => []), /lacks \S+\.quant_map/],
    ["no nested scales", true, named(".nested_absmax", () => []), /lacks \S+\.nested_absmax/],
    [
      "a state that is not JSON",
      false,
      named("bitsandbytes__nf4", (tensor) => [{ ...tensor, shape: [1], data: Uint8Array.of(123) }]),
      /quant_state that is not JSON/,
    ],
    [
      "a state that is no object",
      false,
      named("__nf4", (t) => [{ ...t, shape: [1], data: Uint8Array.of(49) }]),
      /not a JSON object/,
    ],
    ["blocks of 128", false, state({ blocksize: 128 }), /has blocks of 128; only 64 is supported/],
    ["nested blocks of 64", true, state({ nested_blocksize: 64 }), /nested blocks of 64; only 256 is supported/],
    ["no nested offset", true, state({ nested_offset: null }), /nested_offset null/],
    ["another code", false, state({ quant_type: "fp4" }), /quant_type "fp4"; only nf4 is supported/],
    ["no shape", false, state({ shape: [] }), /the shape \[\]/],
    ["another shape", false, state({ shape: [4, 4] }), /elements in \S+; it must be 8/],
    [
      "another format",
      false,
      named("__nf4", (t) => [{ ...t, name: t.name.replace("__nf4", "__fp4") }]),
      /is quantised as "fp4"; only nf4 is supported/,
    ],
    [
      "scales that are not finite",
      false,
      named(".absmax", (t) => [{ ...t, data: bytesOf(new Float32Array(t.shape[0]).fill(Number.NaN)) }]),
      /gives block 0 the scale NaN/,
    ],
  ];
  test.each(broken)("%s is refused by name", async (_, double, spoil, message) => {
    await expect(logits(await bitsandbytes(folder, double, spoil))).rejects.toThrow(message);
  });

  test.each([
    [{ quant_method: "gptq", bits: 4 }],
    [{ ...nf4Config({ double: true, dtype: "bfloat16" }), bnb_4bit_quant_type: "fp4" }],
    [{ quant_method: "bitsandbytes", load_in_8bit: true, load_in_4bit: false }],
  ])("a config with %j is refused", async (quantization_config) => {
    const other = await rewrite(folder, (...tensor) => [f32(...tensor)], { quantization_config });
    await expect(logits(other)).rejects.toThrow(
      /quantization_config is .*it must be absent, or bitsandbytes with load_in_4bit/,
    );
  });
});
