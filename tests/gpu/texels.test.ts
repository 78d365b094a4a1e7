import { describe, expect, it } from "vitest";
import { Pool } from "../../src/gpu/pool.ts";
import type { Tensor } from "../../src/gpu/tensor.ts";
import { Texels } from "../../src/gpu/texels.ts";

const ROW = 65_536;

function setUp(budget = 2 ** 30) {
  const made: { rows: number; destroyed: boolean }[] = [];
  const device = {
    limits: { maxBufferSize: 2 ** 30, maxTextureDimension2D: 8192 },
    createBuffer: () => ({ destroy: () => {} }),
    createTexture: ({ size }: { size: number[] }) => {
      const texture = { rows: size[1], destroyed: false, destroy: () => (texture.destroyed = true) };
      made.push(texture);
      return texture;
    },
  } as unknown as GPUDevice;
  const pool = new Pool(device);
  const texels = new Texels(device, pool, budget);
  const copies: unknown[][] = [];
  const encoder = { copyBufferToTexture: (...args: unknown[]) => copies.push(args) } as unknown as GPUCommandEncoder;
  const tensor = (bytes: number, kind: "weights" | "activations"): Tensor => {
    const block = pool.take(bytes, kind, kind, true);
    return { label: kind, shape: [bytes / 4], dtype: "f32", buffer: block.buffer, offset: 0, bytes, block };
  };
  return { pool, texels, copies, made, tensor, encode: (copy: (to: GPUCommandEncoder) => void) => copy(encoder) };
}

describe("Texels", () => {
  it("copies whole rows of 64 KiB, then the rest, once, and counts the texture", () => {
    const { pool, texels, copies, made, tensor, encode } = setUp();
    const w = tensor(2 * ROW + 32, "weights");
    const before = pool.ledger.allocated;
    const record = {};
    const texture = texels.of(w, "linear", record, encode);
    expect(copies.map(([source, , size]) => [(source as { offset: number }).offset, size])).toEqual([
      [0, [4096, 2]],
      [2 * ROW, [2, 1]],
    ]);
    expect(texels.of(w, "linear", record, encode)).toBe(texture);
    expect(copies.length).toBe(2);
    expect(pool.ledger.allocated - before).toBe(3 * ROW);
    pool.drop(w.block!);
    expect(made[0].destroyed).toBe(true);
    expect(pool.ledger.allocated).toBe(0);
  });

  it("copies again what was written, and what a recording copied that is not submitted", () => {
    const { texels, copies, tensor, encode } = setUp();
    const x = tensor(64, "activations");
    const [first, second] = [{}, {}];
    texels.of(x, "linear", first, encode);
    texels.of(x, "linear", second, encode); // the first may never be submitted
    expect(copies.length).toBe(2);
    texels.submitted(second);
    texels.of(x, "linear", {}, encode);
    expect(copies.length).toBe(2);
    texels.wrote(x.buffer);
    texels.of(x, "linear", {}, encode);
    expect(copies.length).toBe(3);
    texels.submitted(first); // what it put there later is not known
    texels.of(x, "linear", first, encode);
    expect(copies.length).toBe(4);
  });

  it("keeps a few textures for activations; two operands of a kernel never share one", () => {
    const { texels, made, tensor, encode } = setUp();
    const xs = Array.from({ length: 9 }, () => tensor(ROW, "activations"));
    const record = {};
    let last: GPUTexture | null = null;
    for (const x of xs) {
      const texture = texels.of(x, "linear", record, encode);
      expect(texture).not.toBe(last);
      last = texture;
    }
    expect(made.length).toBe(4);
    texels.of(tensor(20 * ROW, "activations"), "linear", record, encode);
    expect(made.length).toBe(5);
    expect(made.filter(({ destroyed }) => destroyed).length).toBe(0); // what is recorded may still use it
    texels.endStep();
    expect(made.filter(({ destroyed }) => destroyed).length).toBe(1);
  });

  it("keeps weights up to its budget, the first that are asked for", () => {
    const { pool, texels, tensor, encode } = setUp(3 * ROW);
    const [first, second, third] = [2 * ROW, 2 * ROW, ROW].map((bytes) => tensor(bytes, "weights"));
    texels.of(first, "linear", {}, encode);
    expect([first, second, third].map((w) => texels.keeps(w))).toEqual([true, false, true]);
    pool.drop(first.block!);
    expect(texels.keeps(second)).toBe(true);
  });

  it("copies a matrix in strips of 16 texels, and takes what the device can have", () => {
    const { texels, copies, made, tensor, encode } = setUp();
    const matrix = (rows: number, columns: number, kind: "weights" | "activations" = "activations") => {
      return { ...tensor(rows * columns * 4, kind), shape: [rows, columns] };
    };
    const w = matrix(10, 128);
    const texture = texels.of(w, "strips", {}, encode);
    expect(copies).toEqual([
      [{ buffer: w.buffer, offset: 0, bytesPerRow: 512 }, { texture, origin: [0, 0, 0] }, [16, 10]],
      [{ buffer: w.buffer, offset: 256, bytesPerRow: 512 }, { texture, origin: [0, 0, 1] }, [16, 10]],
    ]);
    texels.of(w, "strips", {}, encode);
    texels.of({ ...w, shape: [5, 256] }, "strips", {}, encode); // the same bytes lie otherwise
    expect(copies.length).toBe(2 + 2 + 4);
    const other = texels.of(w, "linear", {}, encode);
    expect(other).not.toBe(texture);
    for (let i = 0; i < 2; i++) texels.of(matrix(5, 64), "strips", {}, encode);
    expect(made.length).toBe(5);
    expect(texels.of(matrix(8, 128), "strips", {}, encode)).toBe(texture); // the oldest that is large enough
    expect([w, matrix(8192, 64), matrix(1, 16384)].map((t) => texels.strips(t))).toEqual([true, true, true]);
    const not = [
      matrix(8193, 64),
      matrix(1, 16448),
      matrix(10, 96),
      matrix(10, 128, "weights"),
      tensor(4096, "activations"),
    ];
    expect(not.map((t) => texels.strips(t))).toEqual([false, false, false, false, false]);
    expect(texels.strips({ ...w, dtype: "bf16" })).toBe(false);
  });

  it("takes whole texels that a texture can hold", () => {
    const { texels, tensor } = setUp();
    const x = tensor(1024, "activations");
    expect(texels.takes(x)).toBe(true);
    expect(texels.takes({ ...x, bytes: 1020 })).toBe(false);
    expect(texels.takes({ ...x, offset: 4 })).toBe(false);
    expect(texels.takes({ ...x, bytes: 2 ** 27 })).toBe(false);
    expect(texels.takes({ ...tensor(1024, "weights"), bytes: 2 ** 27 })).toBe(true);
  });
});
