import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { FormatError, NotFoundError, UnsupportedError } from "../../src/errors.ts";
import { concat, memorySource } from "../../src/io/memory-folder.ts";
import {
  bytesOf,
  encodeSafetensors,
  f16ToF32,
  f32ToBf16,
  f32ToF16,
  findNonFinite,
  openSafetensors,
  type TensorData,
  toFloat32,
} from "../../src/io/safetensors.ts";
import type { ByteSource } from "../../src/io/storage.ts";
import { nodeFile } from "../../src/platform/node/fs.ts";
import { lcg } from "../../src/text/hash.ts";
import { GOLDEN } from "../shared.ts";

function file(header: unknown, dataBytes = 0, length?: bigint): Uint8Array {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const out = new Uint8Array(8 + text.length + dataBytes);
  new DataView(out.buffer).setBigUint64(0, length ?? BigInt(text.length), true);
  out.set(text, 8);
  return out;
}

const open = (bytes: Uint8Array) => openSafetensors(memorySource("bad.safetensors", bytes));

async function gather(parts: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const part of parts) all.push(part.slice());
  return concat(all);
}

const f32 = (shape: number[], begin: number, end: number) => ({ dtype: "F32", shape, data_offsets: [begin, end] });

describe("openSafetensors", () => {
  it("reads tensors whole and by range", async () => {
    const opened = await open(
      await gather(
        encodeSafetensors(
          [
            { name: "b", dtype: "F32", shape: [2, 2], data: bytesOf(new Float32Array([1, 2, 3, 4])) },
            { name: "a", dtype: "I64", shape: [1], data: bytesOf(new BigInt64Array([-7n])) },
            { name: "none", dtype: "F32", shape: [0, 3], data: new Uint8Array() },
            { name: "scalar", dtype: "BF16", shape: [], data: bytesOf(f32ToBf16(new Float32Array([1.5]))) },
          ],
          { format: "pt" },
        ),
      ),
    );
    expect([...opened.tensors.keys()].sort()).toEqual(["a", "b", "none", "scalar"]);
    expect(opened.metadata).toEqual({ format: "pt" });
    expect([...toFloat32(await opened.read("b"), "F32")]).toEqual([1, 2, 3, 4]);
    expect([...toFloat32(await opened.read("b", 4, 12), "F32")]).toEqual([2, 3]);
    expect(new BigInt64Array((await opened.read("a")).slice().buffer)[0]).toBe(-7n);
    expect((await opened.read("none")).length).toBe(0);
    expect(opened.tensors.get("scalar")).toMatchObject({ dtype: "BF16", shape: [] });
    await expect(opened.read("c")).rejects.toThrow(NotFoundError);
    await expect(opened.read("b", 4, 17)).rejects.toThrow(/bytes 4 to 17 of the tensor b .* has 16/);
    await expect(opened.read("b", -1, 4)).rejects.toThrow(FormatError);
    await expect(opened.read("b", 0.5, 4)).rejects.toThrow(FormatError);
  });

  it.each<[string, Uint8Array, RegExp]>([
    ["an empty file", new Uint8Array(), /0 bytes/],
    ["a length alone", file("", 0, 5n), /claims 5 bytes, but 0 follow/],
    ["2^60 bytes of header", file("{}", 0, 2n ** 60n), /claims 1152921504606846976 bytes; at most 100000000/],
    ["2^64-1 bytes of header", file("{}", 0, 2n ** 64n - 1n), /claims 18446744073709551615/],
    ["a header past the end", file("{}", 4, 90n), /claims 90 bytes, but 6 follow.*incomplete/],
    ["a header that is not JSON", file("{nope"), /not JSON/],
    ["a header that is not UTF-8", new Uint8Array([2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe]), /not JSON/],
    ["a list as header", file("[]"), /not a JSON object/],
    ["null as header", file("null"), /not a JSON object/],
    ["a tensor that is a number", file({ w: 4 }), /tensor w is described by 4/],
    ["an unknown dtype", file({ w: { dtype: "F4", shape: [1], data_offsets: [0, 1] } }, 1), /w has dtype "F4"/],
    ["a dtype of Object.prototype", file({ w: { dtype: "toString", shape: [], data_offsets: [0, 1] } }, 1), /dtype/],
    ["a negative extent", file({ w: f32([-1], 0, 4) }, 4), /w has shape \[-1\]/],
    ["a fractional extent", file({ w: f32([1.5], 0, 6) }, 6), /shape \[1.5\]/],
    ["a shape that is a string", file({ w: { dtype: "F32", shape: "2", data_offsets: [0, 8] } }, 8), /shape "2",/],
    ["a shape of rank 1000", file({ w: f32(Array(1000).fill(1), 0, 4) }, 4), /at most 32/],
    ["offsets the wrong way round", file({ w: f32([1], 4, 0) }, 4), /data_offsets \[4,0\]/],
    ["offsets of one number", file({ w: { dtype: "F32", shape: [1], data_offsets: [0] } }, 4), /data_offsets \[0\]/],
    ["a size that is not its shape's", file({ w: f32([3], 0, 8) }, 8), /w of F32 \[3\] needs 12 bytes.*8/],
    ["2^60 bytes of tensor", file({ w: { dtype: "U8", shape: [2 ** 60], data_offsets: [0, 2 ** 60] } }), /shape/],
    ["a shape whose product overflows", file({ w: f32([2 ** 40, 2 ** 40], 0, 8) }, 8), /4835703278458516698824704/],
    ["a tensor past the end", file({ w: f32([4], 0, 16) }, 15), /ends at byte 16 of the data, which has 15/],
    ["an overlap", file({ a: f32([2], 0, 8), b: f32([2], 4, 12) }, 12), /b begins at data byte 4, inside the tensor a/],
    ["two tensors in one place", file({ a: f32([1], 0, 4), b: f32([1], 0, 4) }, 4), /begins at data byte 0, inside/],
    ["a hole", file({ a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12), /data bytes 4 to 8, before b, belong to no tensor/],
    ["a hole in front", file({ a: f32([1], 4, 8) }, 8), /data bytes 0 to 4/],
    ["bytes left over", file({ a: f32([1], 0, 4) }, 9), /data bytes 4 to 9, after the tensor a/],
    ["metadata of numbers", file({ __metadata__: { step: 3 } }), /__metadata__/],
    ["a name that breaks the terminal", file({ "\u001b[2J\n": 1 }), /the tensor \?\[2J\? is described/],
  ])("refuses %s", async (_what, bytes, message) => {
    const error = await open(bytes).then(
      () => undefined,
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(FormatError);
    expect((error as Error).message).toMatch(message);
    expect((error as Error).message).toContain("bad.safetensors");
  });

  it("reads almost nothing if the header's length is wrong", async () => {
    const asked: number[] = [];
    const source: ByteSource = {
      name: "huge",
      size: 2 ** 50,
      async read(start, end) {
        asked.push(end - start);
        const bytes = new Uint8Array(end - start);
        bytes[7] = 0x10;
        return bytes;
      },
    };
    await expect(openSafetensors(source)).rejects.toThrow(FormatError);
    expect(asked.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThan(1024);
  });

  it("survives endless nesting", async () => {
    await expect(open(file(`{"w":${"[".repeat(200_000)}`))).rejects.toThrow(FormatError);
    await expect(open(file(`{"w":${"[".repeat(50_000)}${"]".repeat(50_000)}}`))).rejects.toThrow(FormatError);
  });

  it("reads 4000 random mutations as valid files or throws FormatError, nothing else", async () => {
    const next = lcg(12345);
    const random = (n: number) => Math.floor((next() / 2 ** 32) * n);
    const good = await gather(
      encodeSafetensors(
        ["a", "b", "c"].map((name, i) => ({
          name: `model.${name}`,
          dtype: "F32",
          shape: [i + 1, 2],
          data: new Uint8Array((i + 1) * 8),
        })),
        { format: "pt" },
      ),
    );
    let sound = 0;
    for (let trial = 0; trial < 4000; trial++) {
      const bytes = good.slice(0, random(8) === 0 ? random(good.length + 1) : good.length);
      const flips = 1 + random(4);
      for (let i = 0; i < flips; i++) {
        // mostly in the length and the header, which matter most
        const at = random(4) === 0 ? random(8) : random(bytes.length);
        if (at < bytes.length) bytes[at] = random(2) ? random(256) : 48 + random(10);
      }
      let opened: Awaited<ReturnType<typeof open>>;
      try {
        opened = await open(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(FormatError);
        continue;
      }
      sound++;
      let covered = 0;
      for (const { begin, end } of opened.tensors.values()) {
        expect(begin >= 8 && end >= begin && end <= bytes.length).toBe(true);
        covered += end - begin;
      }
      expect(covered).toBeLessThan(bytes.length);
    }
    expect(sound).toBeGreaterThan(0);
    expect(sound).toBeLessThan(4000);
  });
});

describe("encodeSafetensors", () => {
  it("pads its header to eight bytes and aligns wide dtypes first", async () => {
    const bytes = await gather(
      encodeSafetensors([
        { name: "h", dtype: "F16", shape: [1], data: new Uint8Array(2) },
        { name: "w", dtype: "F64", shape: [1], data: [new Uint8Array(3), new Uint8Array(5)] },
      ]),
    );
    const { tensors } = await open(bytes);
    expect(tensors.get("w")!.begin % 8).toBe(0);
    expect(tensors.get("h")!.begin).toBe(tensors.get("w")!.end);
  });

  it.each<[string, TensorData[], RegExp]>([
    ["data that is short", [{ name: "w", dtype: "F32", shape: [2], data: new Uint8Array(4) }], /needs 8 bytes.* has 4/],
    ["data that is long", [{ name: "w", dtype: "F32", shape: [1], data: new Uint8Array(8) }], /needs 4 bytes.* more/],
    [
      "a name used twice",
      [1, 2].map(() => ({ name: "w", dtype: "U8", shape: [1], data: new Uint8Array(1) })),
      /the name occurs twice or is reserved/,
    ],
  ])("refuses %s", async (_what, tensors, message) => {
    await expect(gather(encodeSafetensors(tensors))).rejects.toThrow(message);
  });

  it("writes the golden files byte for byte", async () => {
    const paths = readdirSync(GOLDEN, { recursive: true, encoding: "utf8" }).filter((p) => p.endsWith(".safetensors"));
    expect(paths.length).toBeGreaterThan(10);
    for (const path of paths) {
      const opened = await openSafetensors(await nodeFile(join(GOLDEN, path)));
      const tensors: TensorData[] = [];
      for (const { name, dtype, shape } of opened.tensors.values()) {
        tensors.push({ name, dtype, shape, data: await opened.read(name) });
      }
      const again = await gather(encodeSafetensors(tensors.reverse(), opened.metadata));
      expect(Buffer.compare(again, readFileSync(join(GOLDEN, path))), path).toBe(0);
    }
  });
});

describe("floats", () => {
  const all16 = Uint16Array.from({ length: 65536 }, (_, i) => i);

  it("widens every bf16 and f16 exactly, at odd offsets too", () => {
    const padded = new Uint8Array(2 * 65536 + 1);
    padded.set(bytesOf(all16), 1);
    const bf16 = toFloat32(padded.subarray(1), "BF16");
    const f16 = toFloat32(padded.subarray(1), "F16");
    const view = new DataView(new ArrayBuffer(4));
    for (let bits = 0; bits < 65536; bits++) {
      view.setUint32(0, bits * 65536);
      if (!Object.is(bf16[bits], view.getFloat32(0))) expect.fail(`bf16 ${bits}: ${bf16[bits]}`);
      if (!Object.is(f16[bits], f16ToF32(bits))) expect.fail(`f16 ${bits}: ${f16[bits]}`);
    }
    expect([0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00, 0x8000, 0x3555].map((bits) => f16[bits])).toEqual([
      1,
      -2,
      2 ** -24,
      65504,
      Number.POSITIVE_INFINITY,
      -0,
      0.333251953125,
    ]);
  });

  it("rounds every 16-bit value back to itself", () => {
    for (const [dtype, narrow] of [
      ["BF16", f32ToBf16],
      ["F16", f32ToF16],
    ] as const) {
      const values = toFloat32(bytesOf(all16), dtype);
      const back = narrow(values);
      for (let i = 0; i < 65536; i++) {
        if (Number.isNaN(values[i])) {
          if (!Number.isNaN(toFloat32(bytesOf(back.slice(i, i + 1)), dtype)[0])) expect.fail(`${dtype} NaN ${i}`);
        } else if (back[i] !== i) expect.fail(`${dtype} ${i} came back as ${back[i]}`);
      }
    }
  });

  it("rounds to the nearest, ties to even", () => {
    // neighbours of a halfway point between two 16-bit values, checked by brute force in float64
    const next = lcg(99);
    const words = new Uint32Array(20_000);
    for (let i = 0; i < words.length; i++) {
      const state = next();
      words[i] = i % 2 ? state : 0x33000000 + (state % 0x15000000); // half of them in the range of f16
      if (i % 3 === 0) words[i] = (words[i]! & ~0x1fff) | 0x1000;
      if (i % 5 === 0) words[i] = (words[i]! & ~0xffff) | 0x8000;
    }
    const values = new Float32Array(words.buffer);
    for (const [dtype, narrow, limit] of [
      ["BF16", f32ToBf16, 3.38e38],
      ["F16", f32ToF16, 65504],
    ] as const) {
      const bits = narrow(values);
      const near = toFloat32(bytesOf(bits), dtype);
      for (let i = 0; i < values.length; i++) {
        const x = values[i]!;
        if (!(Math.abs(x) < limit)) continue;
        const error = Math.abs(near[i]! - x);
        for (const step of [-1, 1]) {
          const other = toFloat32(new Uint8Array(new Uint16Array([bits[i]! + step]).buffer), dtype)[0]!;
          const away = Math.abs(other - x);
          if (Number.isNaN(other) || other * near[i]! < 0) continue;
          if (!(error < away || (error === away && bits[i]! % 2 === 0))) expect.fail(`${dtype} ${x} → ${near[i]}`);
        }
      }
    }
    expect([...f32ToF16(new Float32Array([65519, 65520, -1e9, 2 ** -25, 1.5 * 2 ** -25]))]).toEqual([
      0x7bff, 0x7c00, 0xfc00, 0, 1,
    ]);
  });

  it("finds the first NaN or infinity", () => {
    const values = new Float32Array(1000).fill(1e4);
    expect(findNonFinite(bytesOf(values), "F32")).toBe(-1);
    for (const bad of [Number.NaN, Number.NEGATIVE_INFINITY]) {
      values[777] = bad;
      expect(findNonFinite(bytesOf(values), "F32")).toBe(777);
      expect(findNonFinite(bytesOf(f32ToBf16(values)), "BF16")).toBe(777);
      expect(findNonFinite(bytesOf(f32ToF16(values)), "F16")).toBe(777);
    }
    expect(findNonFinite(new Uint8Array(8).fill(255), "I64")).toBe(-1);
  });

  it("refuses ambiguous input", () => {
    expect(() => toFloat32(new Uint8Array(8), "F64")).toThrow(UnsupportedError);
    expect(() => toFloat32(new Uint8Array(3), "BF16")).toThrow(FormatError);
  });
});
