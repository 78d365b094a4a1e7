import { describe, expect, it } from "vitest";
import { copyOut, Texels, writeTexels } from "../../../src/gpu/cpu-adapters/textures.ts";
import { Pool } from "../../../src/gpu/pool.ts";
import type { Tensor } from "../../../src/gpu/tensor.ts";

const ROW = 65_536;

function setUp() {
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
  const texels = new Texels(device, pool);
  const copies: unknown[][] = [];
  const encoder = { copyBufferToTexture: (...args: unknown[]) => copies.push(args) } as unknown as GPUCommandEncoder;
  const tensor = (bytes: number) => {
    const block = pool.take(bytes, "activations", "x", true);
    return { label: "x", shape: [bytes / 4], dtype: "f32", buffer: block.memory, offset: 0, bytes, block } as const;
  };
  /** as Gpu.frozen makes it */
  const frozen = (shape: readonly [number, number]): Tensor => {
    const block = texels.hold(shape, "f32", "w")!;
    const bytes = 4 * shape[0] * shape[1];
    return { label: "w", shape, dtype: "f32", buffer: null, texture: block.memory, offset: 0, bytes, block };
  };
  return {
    pool,
    texels,
    copies,
    made,
    tensor,
    frozen,
    encode: (copy: (to: GPUCommandEncoder) => void) => copy(encoder),
  };
}

describe("Texels", () => {
  it("copies whole rows of 64 KiB, then the rest, once, and counts the texture", () => {
    const { pool, texels, copies, made, tensor, encode } = setUp();
    const w = tensor(2 * ROW + 32);
    const before = pool.ledger.allocated;
    const record = {};
    const texture = texels.of(w, "linear", record, encode);
    expect(copies.map(([source, , size]) => [(source as { offset: number }).offset, size])).toEqual([
      [0, [4096, 2]],
      [2 * ROW, [2, 1]],
    ]);
    expect(texels.of(w, "linear", record, encode)).toBe(texture);
    expect(copies.length).toBe(2);
    expect(pool.ledger.allocated - before).toBe(3 * ROW); // a size class
    pool.trim();
    expect(made[0].destroyed).toBe(true);
    pool.drop(w.block);
    expect(pool.ledger.allocated).toBe(0);
  });

  it("copies again what was written, and what a recording copied that is not submitted", () => {
    const { texels, copies, tensor, encode } = setUp();
    const x = tensor(64);
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
    const xs = Array.from({ length: 9 }, () => tensor(ROW));
    const record = {};
    let last: GPUTexture | null = null;
    for (const x of xs) {
      const texture = texels.of(x, "linear", record, encode);
      expect(texture).not.toBe(last);
      last = texture;
    }
    expect(made.length).toBe(4);
    texels.of(tensor(20 * ROW), "linear", record, encode);
    expect(made.length).toBe(5);
    expect(made.filter(({ destroyed }) => destroyed).length).toBe(0); // what is recorded may still use it
    texels.endStep();
    expect(made.filter(({ destroyed }) => destroyed).length).toBe(1);
  });

  it("holds weights in a texture and nothing else, as long as they live", () => {
    const { pool, texels, copies, made, frozen, encode } = setUp();
    const w = frozen([12, 4096]); // three rows of texels
    expect(pool.ledger.byKind).toEqual({ weights: 3 * ROW });
    expect(texels.of(w, "linear", {}, encode)).toBe(w.texture);
    expect(copies.length).toBe(0);
    pool.trim();
    expect(made[0].destroyed).toBe(false);
    pool.drop(w.block!);
    expect(made[0].destroyed).toBe(true);
    expect(pool.ledger.allocated).toBe(0);
  });

  it("holds no weights that products could not read a texel at a time, nor any that the device cannot have", () => {
    const { texels } = setUp();
    const held = (shape: number[], dtype: "f32" | "f16" | "bf16" | "int8") => texels.hold(shape, dtype, "w") !== null;
    expect(held([4, 8], "f32") && held([4, 8], "bf16")).toBe(true);
    expect([held([4, 8], "f16"), held([4, 64], "int8"), held([64], "f32")]).toEqual([false, false, false]);
    expect([held([3, 8], "bf16"), held([4, 12], "bf16")]).toEqual([false, false]);
    expect([held([8192, 16_384], "f32"), held([8192, 16_392], "f32")]).toEqual([true, false]);
  });

  it("writes and reads what lies in a texture: the rest of a row, whole rows, the begin of one", () => {
    const { frozen } = setUp();
    const w = frozen([16, 4096]);
    const boxes: unknown[] = [];
    const writeTexture = (to: { origin: unknown }, _: unknown, from: { offset: number }, size: unknown) =>
      boxes.push([to.origin, from.offset, size]);
    const queue = { writeTexture } as unknown as GPUQueue;
    writeTexels(queue, w, ROW - 32, new Uint8Array(32 + 2 * ROW + 16));
    expect(boxes.splice(0)).toEqual([
      [[4094, 0], 0, [2, 1]],
      [[0, 1], 32, [4096, 2]],
      [[0, 3], 32 + 2 * ROW, [1, 1]],
    ]);
    writeTexels(queue, w, 48, new Uint8Array(64));
    expect(boxes.splice(0)).toEqual([[[3, 0], 0, [4, 1]]]);
    const copyTextureToBuffer = (from: { origin: unknown }, to: { offset: number }, size: unknown) =>
      boxes.push([from.origin, to.offset, size]);
    const encoder = { copyTextureToBuffer } as unknown as GPUCommandEncoder;
    copyOut(encoder, w.texture!, {} as GPUBuffer, 256, ROW + 16);
    expect(boxes).toEqual([
      [[0, 0], 256, [4096, 1]],
      [[0, 1], 256 + ROW, [1, 1]],
    ]);
    expect(() => writeTexels(queue, w, 4, new Uint8Array(16))).toThrow(
      "Cannot write 16 bytes at 4 of w: it lies in a texture, which is written in 16 bytes",
    );
  });

  it("copies a matrix in strips of 16 texels, and takes what the device can have", () => {
    const { texels, copies, made, tensor, frozen, encode } = setUp();
    const matrix = (rows: number, columns: number) => ({ ...tensor(rows * columns * 4), shape: [rows, columns] });
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
    const not = [matrix(8193, 64), matrix(1, 16448), matrix(10, 96), frozen([12, 128]), tensor(4096)];
    expect(not.map((t) => texels.strips(t))).toEqual([false, false, false, false, false]);
    expect(texels.strips({ ...w, dtype: "bf16" })).toBe(false);
  });

  it("takes whole texels that a texture can hold", () => {
    const { texels, tensor, frozen } = setUp();
    const x = tensor(1024);
    expect(texels.takes(x)).toBe(true);
    expect(texels.takes({ ...x, bytes: 1020 })).toBe(false);
    expect(texels.takes({ ...x, offset: 4 })).toBe(false);
    expect(texels.takes({ ...x, bytes: 2 ** 27 })).toBe(false);
    expect(texels.takes(frozen([8192, 4096]))).toBe(true);
  });
});
