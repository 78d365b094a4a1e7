import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GGMLQuantizationType, gguf } from "@huggingface/gguf";
import { afterAll, describe, expect, test } from "vitest";
import {
  encodeGguf,
  GGML_TYPES,
  type GgmlType,
  type GgufTensor,
  type GgufValue,
  ggmlBytes,
} from "../../src/io/gguf/gguf.ts";
import { dequantize, quantize } from "../../src/io/gguf/quant.ts";
import { openGguf } from "../../src/io/gguf/read.ts";
import { memoryFolder, memorySource } from "../../src/io/memory-folder.ts";
import { bytesOf } from "../../src/io/safetensors.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { integers } from "../train/fixtures.ts";

const root = mkdtempSync(join(tmpdir(), "gguf-"));
afterAll(() => rmSync(root, { recursive: true }));

const METADATA: [string, GgufValue][] = [
  ["general.architecture", { type: "string", value: "qwen2" }],
  ["general.name", { type: "string", value: "a name: naïve 名" }],
  ["qwen2.block_count", { type: "u32", value: 4_000_000_000 }],
  ["qwen2.rope.freq_base", { type: "f32", value: 1e6 }],
  ["tokenizer.ggml.add_bos_token", { type: "bool", value: true }],
  ["tokenizer.ggml.tokens", { type: "strings", value: ["a", "", "Ġthe", "é"] }],
  ["tokenizer.ggml.token_type", { type: "i32s", value: [1, -3, 4] }],
  ["x.negative", { type: "i32", value: -7 }],
];

const next = integers(11);
const random = (count: number, scale = 1) =>
  Float32Array.from({ length: count }, () => (scale * (next(2_000_001) - 1_000_000)) / 1_000_000);

/** Half floats in order, with their values: derived from IEEE 754, not from the tested code. */
const HALVES = Array.from({ length: 0x7c00 }, (_, bits) => ({
  bits,
  value: bits < 1024 ? bits * 2 ** -24 : (1024 + (bits & 1023)) * 2 ** ((bits >> 10) - 25),
}));

/** The nearest half float by search; ties go to the even one. */
function half(x: number): number {
  let [low, high] = [0, HALVES.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (HALVES[middle].value <= Math.abs(x)) low = middle;
    else high = middle - 1;
  }
  const [below, above] = [HALVES[low], HALVES[low + 1]];
  const [down, up] = [Math.abs(x) - below.value, above.value - Math.abs(x)];
  const { bits } = down < up || (down === up && below.bits % 2 === 0) ? below : above;
  return bits | (x < 0 || Object.is(x, -0) ? 0x8000 : 0);
}

const f = Math.fround;

/** Q8_0 and Q4_0 of a block of 32, from ggml's description, value by value. */
function reference(block: number[], type: "Q8_0" | "Q4_0"): number[] {
  let extreme = 0;
  for (const x of block) if (Math.abs(x) > Math.abs(extreme)) extreme = x;
  const d = type === "Q8_0" ? f(Math.abs(extreme) / 127) : f(extreme / -8);
  const scaled = block.map((x) => (d === 0 ? 0 : f(x * f(1 / d))));
  const scale = [half(d) & 255, half(d) >> 8];
  if (type === "Q8_0") {
    const rounded = scaled.map((x) => (x < 0 ? -Math.floor(0.5 - x) : Math.floor(x + 0.5)));
    return [...scale, ...rounded.map((q) => q & 255)];
  }
  const codes = scaled.map((x) => Math.min(15, Math.floor(f(x + 8.5))));
  return [...scale, ...Array.from({ length: 16 }, (_, j) => codes[j] + 16 * codes[j + 16])];
}

const filled = (head: number[]) => [...head, ...new Array(32 - head.length).fill(0)];

describe("quantisation", () => {
  const blocks = [
    filled([]),
    filled([1]),
    filled([-1]),
    filled([1, -1, 0.5, -0.5]), // equal magnitudes: the first decides
    filled([-2, 2, 1.75, -1.75, 0.125, -0.125]),
    filled([127, 0.5, -0.5, 1.5, -1.5, 63.5]), // halves of a step
    filled([8, 0.5, -0.5, 1.5, -1.5, -7.5]),
    filled([1e-7, 3e-8]), // scales that are subnormal as half floats
    filled([3e-10]),
    ...Array.from({ length: 200 }, (_, i) => [...random(32, 10 ** ((i % 9) - 5))]),
  ].map((block) => block.map(f));

  test.each(["Q8_0", "Q4_0"] as const)("in %s is ggml's, block by block", (type) => {
    const got = quantize(Float32Array.from(blocks.flat()), type);
    expect([...got]).toEqual(blocks.flatMap((block) => reference(block, type)));
  });

  test.each([
    ["F32", () => 0],
    ["F16", (x: number) => Math.abs(x) * 2 ** -11 + 2 ** -25],
    ["BF16", (x: number) => Math.abs(x) * 2 ** -8],
    // half a step of round, and the step's own rounding to f16 times the largest code
    ["Q8_0", (_: number, most: number) => (most / 127) * (0.5 + 127 * 2 ** -11) + 127 * 2 ** -25],
    // values with the opposite sign of the largest are limited one step earlier
    ["Q4_0", (_: number, most: number) => (most / 8) * (1 + 8 * 2 ** -11) + 8 * 2 ** -25],
  ] as [GgmlType, (x: number, most: number) => number][])("in %s comes back within its bound", (type, bound) => {
    const values = Float32Array.from(blocks.flat());
    const back = dequantize(quantize(values, type), type);
    for (let at = 0; at < values.length; at += 32) {
      const most = Math.max(...values.subarray(at, at + 32).map(Math.abs));
      for (let i = at; i < at + 32; i++) {
        expect(Math.abs(back[i] - values[i])).toBeLessThanOrEqual(bound(values[i], most));
      }
    }
    expect([...back].some((x) => x !== 0)).toBe(true);
  });

  test("refuses values outside a format's range", () => {
    expect(() => quantize(new Float32Array(32).fill(1e5), "F16")).toThrow(/100000 as F16: f16 ends at 65504/);
    expect(() => quantize(new Float32Array(32).fill(1e7), "Q8_0")).toThrow(/as Q8_0's scale/);
    expect(() => quantize(new Float32Array(33), "Q4_0")).toThrow(
      /Cannot convert Q4_0 data of length 33: the length must be a multiple of 32/,
    );
    expect(() => dequantize(new Uint8Array(35), "Q8_0")).toThrow(/a multiple of 34/);
  });
});

/** A tensor of each type, with 3 rows or none. */
function tensors(): (GgufTensor & { values: Float32Array })[] {
  return [...Object.keys(GGML_TYPES), "F32"].map((name, i) => {
    const type = name as GgmlType;
    const shape = i === 5 ? [5] : [3, 64];
    const values = random(shape.reduce((product, extent) => product * extent, 1));
    const bytes = quantize(values, type);
    return { name: `t${i}.weight`, type, shape, values, data: [bytes.subarray(0, 4), bytes.subarray(4)] };
  });
}

describe("a file", () => {
  test("parses with @huggingface/gguf, and its tensors are at the stated offsets", async () => {
    const made = tensors();
    await nodeFolder(root).write("a.gguf", encodeGguf(METADATA, made));
    const path = join(root, "a.gguf");
    const read = await gguf(path, { allowLocalFile: true });
    expect(read.metadata).toMatchObject({ version: 3, tensor_count: 6n, kv_count: 8n });
    for (const [key, { value }] of METADATA) expect(read.metadata).toHaveProperty([key], value);
    expect(read.tensorInfos.map(({ name, dtype, shape }) => [name, GGMLQuantizationType[dtype], shape])).toEqual(
      made.map(({ name, type, shape }) => [name, type, [...shape].reverse().map(BigInt)]),
    );
    const file = await nodeFolder(root).open("a.gguf");
    const own = await openGguf(file);
    for (const [i, { type, shape, values, name }] of made.entries()) {
      const begin = Number(read.tensorDataOffset + read.tensorInfos[i].offset);
      expect(begin % 32).toBe(0);
      const bytes = await file.read(begin, begin + ggmlBytes(type, shape));
      expect(bytes).toEqual(quantize(values, type));
      expect(own.tensors.get(name)).toMatchObject({ type, shape, begin, end: begin + bytes.length });
    }
    expect(file.size % 32).toBe(0);
    for (const [key, { value }] of METADATA) expect(own.metadata.get(key)).toEqual(value);
  });

  test("reads files of other writers: all types of metadata, another alignment", async () => {
    const parts: number[] = [];
    const push = (array: ArrayBufferView) => parts.push(...bytesOf(array));
    const u32 = (x: number) => push(Uint32Array.of(x));
    const u64 = (x: number | bigint) => push(BigUint64Array.of(BigInt(x)));
    const text = (s: string) => {
      u64(s.length);
      push(new TextEncoder().encode(s));
    };
    u32(0x46554747);
    u32(3);
    u64(1);
    const values: [string, number, () => void, unknown][] = [
      ["general.alignment", 4, () => u32(64), 64],
      ["a.u8", 0, () => push(Uint8Array.of(200)), 200],
      ["a.i8", 1, () => push(Int8Array.of(-5)), -5],
      ["a.u16", 2, () => push(Uint16Array.of(60000)), 60000],
      ["a.i16", 3, () => push(Int16Array.of(-300)), -300],
      ["a.u64", 10, () => u64(2n ** 40n), 2 ** 40],
      ["a.i64", 11, () => push(BigInt64Array.of(-(2n ** 60n))), -(2n ** 60n)],
      ["a.f64", 12, () => push(Float64Array.of(0.1)), 0.1],
    ];
    u64(values.length);
    for (const [key, type, write] of values) {
      text(key);
      u32(type);
      write();
    }
    text("w");
    u32(1);
    u64(2);
    u32(0);
    u64(0);
    while (parts.length % 64 !== 0) parts.push(0);
    const begin = parts.length;
    push(Float32Array.of(1, 2));
    const file = await openGguf(memorySource("other.gguf", Uint8Array.from(parts)));
    for (const [key, , , value] of values) expect(file.metadata.get(key)).toEqual(value);
    expect(file.tensors.get("w")).toEqual({ name: "w", type: "F32", shape: [2], begin, end: begin + 8 });
  });

  test("is not written if data and shape differ, or a name repeats", async () => {
    const folder = memoryFolder("out");
    const one = (data: Uint8Array, shape = [2]): GgufTensor => ({ name: "w", type: "F32", shape, data: [data] });
    const write = (...list: GgufTensor[]) => folder.write("x.gguf", encodeGguf([], list));
    await expect(write(one(new Uint8Array(4)))).rejects.toThrow(/w of F32 \[2\]: it needs 8 bytes, but its data has 4/);
    await expect(write(one(new Uint8Array(12)))).rejects.toThrow(/its data has more/);
    await expect(write(one(new Uint8Array(8)), one(new Uint8Array(8)))).rejects.toThrow(/tensor w appears twice/);
    await expect(write({ ...one(new Uint8Array(17), [1, 31]), type: "Q4_0" })).rejects.toThrow(/rows of 31 as Q4_0/);
    expect(await folder.list()).toEqual([]);
  });
});

describe("a broken file", () => {
  const whole = async () => {
    const folder = memoryFolder("made");
    await folder.write("a.gguf", encodeGguf(METADATA, tensors()));
    const source = await folder.open("a.gguf");
    return source.read(0, source.size);
  };
  const open = (bytes: Uint8Array) => openGguf(memorySource("a.gguf", bytes));

  test.each([
    ["no GGUF", (b: Uint8Array) => b.fill(0, 0, 1), /Cannot read a.gguf as GGUF: it does not begin with GGUF/],
    ["version 2", (b: Uint8Array) => b.fill(2, 4, 5), /GGUF version 2; Qwench reads 3/],
    [
      "too many tensors",
      (b: Uint8Array) => b.fill(255, 8, 14),
      /it claims 281474976710655 tensors, and \d+ bytes follow/,
    ],
    ["too many keys", (b: Uint8Array) => b.fill(255, 16, 24), /it claims 18446744073709551615 metadata entries/],
    ["a key past the end", (b: Uint8Array) => b.fill(255, 24, 28), /claims 4294967295 characters of a string/],
    ["a key that is not UTF-8", (b: Uint8Array) => b.fill(255, 32, 36), /is not UTF-8/],
    ["a type that there is not", (b: Uint8Array) => b.fill(99, 52, 53), /a value before byte 56 has type 99/],
    [
      "cut data",
      (b: Uint8Array) => b.subarray(0, b.length - 32),
      /ends at byte \d+, but the file has \d+ bytes: it is incomplete/,
    ],
    ["a cut header", (b: Uint8Array) => b.subarray(0, 100), /bytes follow|should follow/],
    ["nothing", (b: Uint8Array) => b.subarray(0, 0), /4 bytes should follow at 0, but it has 0/],
  ] as [string, (bytes: Uint8Array) => Uint8Array, RegExp][])("%s is refused", async (_, spoil, message) => {
    await expect(open(spoil(await whole()))).rejects.toThrow(message);
  });

  test("never hangs or reads beyond the file, for a wrong byte anywhere", async () => {
    const good = await whole();
    const { tensors: list } = await open(good);
    const header = Math.min(...[...list.values()].map(({ begin }) => begin));
    let refused = 0;
    for (let at = 0; at < header; at += 3) {
      const bad = good.slice();
      bad[at] ^= 0x80;
      const error = await open(bad).then(
        () => null,
        (e: Error) => e,
      );
      if (!error) continue;
      expect(error.name).toMatch(/^(FormatError|UnsupportedError)$/);
      refused++;
    }
    expect(refused).toBeGreaterThan(50);
  });
});
