import { describe, expect, it } from "vitest";
import { TextureStorage } from "../../../src/gpu/cpu-adapters/textures.ts";
import { Pool } from "../../../src/gpu/pool.ts";
import type { Recording, TextureLayout } from "../../../src/gpu/storage.ts";
import type { Tensor } from "../../../src/gpu/tensor.ts";

const ROW = 65_536;
const PANEL = 2 * ROW;

function setUp() {
  const made: { rows: number; destroyed: boolean }[] = [];
  const written: unknown[] = [];
  const device = {
    limits: { maxBufferSize: 2 ** 30, maxTextureDimension2D: 8192 },
    createBuffer: () => ({ destroy: () => {} }),
    createTexture: ({ size }: { size: number[] }) => {
      const texture = { rows: size[1], destroyed: false, destroy: () => (texture.destroyed = true) };
      made.push(texture);
      return texture;
    },
    queue: {
      writeTexture: (to: { origin: unknown }, _: unknown, from: { offset: number }, size: unknown) =>
        written.push([to.origin, from.offset, size]),
    },
  } as unknown as GPUDevice;
  const pool = new Pool(device);
  const storage = new TextureStorage(device, pool, PANEL);
  const copies: unknown[][] = [];
  const encoder = { copyBufferToTexture: (...args: unknown[]) => copies.push(args) } as unknown as GPUCommandEncoder;
  const tensor = (bytes: number) => {
    const block = pool.take(bytes, "activations", "x", true);
    return { label: "x", shape: [bytes / 4], dtype: "f32", buffer: block.memory, offset: 0, bytes, block } as const;
  };
  const recording = (): Recording & { copied: [Tensor, Tensor][] } => {
    const copied: [Tensor, Tensor][] = [];
    return {
      copied,
      encode: (copy) => copy(encoder),
      empty: (shape, dtype, label) => ({ ...tensor(4 * shape.reduce((n, d) => n * d)), shape, dtype, label }),
      copy: (from, to) => void copied.push([from, to]),
      yieldIdle: () => {},
    };
  };
  return {
    pool,
    storage,
    copies,
    made,
    written,
    tensor,
    recording,
    frozen: (shape: readonly [number, number]) => storage.hold(shape, "f32", "w"),
    /** the texture bound for a kernel that declares one */
    bound: (x: Tensor, kind: TextureLayout, by: Recording = recording()) =>
      storage.bind([{ name: "x", kind }], { x }, by).textures!.get("x")!,
  };
}

describe("storage in textures", () => {
  it("copies whole rows of 64 KiB, then the rest, once, and counts the texture", () => {
    const { pool, copies, made, tensor, recording, bound } = setUp();
    const w = tensor(2 * ROW + 32);
    const before = pool.ledger.allocated;
    const record = recording();
    const texture = bound(w, "linear", record);
    expect(copies.map(([source, , size]) => [(source as { offset: number }).offset, size])).toEqual([
      [0, [4096, 2]],
      [2 * ROW, [2, 1]],
    ]);
    expect(bound(w, "linear", record)).toBe(texture);
    expect(copies.length).toBe(2);
    expect(pool.ledger.allocated - before).toBe(3 * ROW); // a size class
    pool.trim();
    expect(made[0].destroyed).toBe(true);
    pool.drop(w.block);
    expect(pool.ledger.allocated).toBe(0);
  });

  it("copies again after a write, and if another recording's copy is not submitted", () => {
    const { storage, copies, tensor, recording, bound } = setUp();
    const x = tensor(64);
    const [first, second] = [recording(), recording()];
    bound(x, "linear", first);
    bound(x, "linear", second); // the first recording may never be submitted
    expect(copies.length).toBe(2);
    storage.submitted(second);
    bound(x, "linear");
    expect(copies.length).toBe(2);
    storage.written(x.buffer);
    bound(x, "linear");
    expect(copies.length).toBe(3);
    storage.submitted(first); // its later content is unknown
    bound(x, "linear", first);
    expect(copies.length).toBe(4);
  });

  it("keeps a few textures for activations; two operands of a kernel never share one", () => {
    const { storage, made, tensor, recording, bound } = setUp();
    const xs = Array.from({ length: 9 }, () => tensor(ROW));
    const record = recording();
    let last: GPUTexture | null = null;
    for (const x of xs) {
      const texture = bound(x, "linear", record);
      expect(texture).not.toBe(last);
      last = texture;
    }
    expect(made.length).toBe(4);
    bound(tensor(20 * ROW), "linear", record);
    expect(made.length).toBe(5);
    expect(made.filter(({ destroyed }) => destroyed).length).toBe(0); // recorded commands may still use it
    storage.endStep();
    expect(made.filter(({ destroyed }) => destroyed).length).toBe(1);
  });

  it("holds weights only in a texture, for their whole lifetime", () => {
    const { pool, copies, made, frozen, bound } = setUp();
    const w = frozen([12, 4096]); // three rows of texels
    expect(pool.ledger.byKind).toEqual({ weights: 3 * ROW });
    expect(bound(w, "linear")).toBe(w.texture);
    expect(copies.length).toBe(0);
    pool.trim();
    expect(made[0].destroyed).toBe(false);
    pool.drop(w.block!);
    expect(made[0].destroyed).toBe(true);
    expect(pool.ledger.allocated).toBe(0);
  });

  it("uses buffers for weights that products cannot read by texels, or that exceed the device's textures", () => {
    const { storage } = setUp();
    const held = (shape: number[], dtype: "f32" | "f16" | "bf16" | "int8") =>
      storage.hold(shape, dtype, "w").texture !== undefined;
    expect(held([4, 8], "f32") && held([4, 8], "bf16")).toBe(true);
    expect([held([4, 8], "f16"), held([4, 64], "int8"), held([64], "f32")]).toEqual([false, false, false]);
    expect([held([3, 8], "bf16"), held([4, 12], "bf16")]).toEqual([false, false]);
    expect([held([8192, 16_384], "f32"), held([8192, 16_392], "f32")]).toEqual([true, false]);
  });

  it("writes and reads a tensor in a texture: the rest of a row, whole rows, the beginning of a row", () => {
    const { storage, written: boxes, frozen } = setUp();
    const w = frozen([16, 4096]);
    storage.write(w, ROW - 32, new Uint8Array(32 + 2 * ROW + 16));
    expect(boxes.splice(0)).toEqual([
      [[4094, 0], 0, [2, 1]],
      [[0, 1], 32, [4096, 2]],
      [[0, 3], 32 + 2 * ROW, [1, 1]],
    ]);
    storage.write(w, 48, new Uint8Array(64));
    expect(boxes.splice(0)).toEqual([[[3, 0], 0, [4, 1]]]);
    const copyTextureToBuffer = (from: { origin: unknown }, to: { offset: number }, size: unknown) =>
      boxes.push([from.origin, to.offset, size]);
    const encoder = { copyTextureToBuffer } as unknown as GPUCommandEncoder;
    storage.copyOut(encoder, { ...w, bytes: ROW + 16 }, {} as GPUBuffer, 256);
    expect(boxes).toEqual([
      [[0, 0], 256, [4096, 1]],
      [[0, 1], 256 + ROW, [1, 1]],
    ]);
    expect(() => storage.write(w, 4, new Uint8Array(16))).toThrow(
      "Cannot write 16 bytes at 4 of w: it is in a texture, so offset and length must be multiples of 16 bytes",
    );
  });

  it("copies a matrix in strips of 16 texels, within the device's limits", () => {
    const { storage, copies, made, tensor, frozen, bound } = setUp();
    const matrix = (rows: number, columns: number) => ({ ...tensor(rows * columns * 4), shape: [rows, columns] });
    const w = matrix(10, 128);
    const texture = bound(w, "strips");
    expect(copies).toEqual([
      [{ buffer: w.buffer, offset: 0, bytesPerRow: 512 }, { texture, origin: [0, 0, 0] }, [16, 10]],
      [{ buffer: w.buffer, offset: 256, bytesPerRow: 512 }, { texture, origin: [0, 0, 1] }, [16, 10]],
    ]);
    bound(w, "strips");
    bound({ ...w, shape: [5, 256] }, "strips"); // the same bytes in another layout
    expect(copies.length).toBe(2 + 2 + 4);
    const other = bound(w, "linear");
    expect(other).not.toBe(texture);
    for (let i = 0; i < 2; i++) bound(matrix(5, 64), "strips");
    expect(made.length).toBe(5);
    expect(bound(matrix(8, 128), "strips")).toBe(texture); // the oldest that is large enough
    expect([w, matrix(8192, 64), matrix(1, 16384)].map((t) => storage.strips(t))).toEqual([true, true, true]);
    const not = [matrix(8193, 64), matrix(1, 16448), matrix(10, 96), frozen([12, 128]), tensor(4096)];
    expect(not.map((t) => storage.strips(t))).toEqual([false, false, false, false, false]);
    expect(storage.strips({ ...w, dtype: "bf16" })).toBe(false);
  });

  it("gives a kernel that reads buffers a copy of a tensor in a texture", () => {
    const { storage, tensor, frozen, recording } = setUp();
    const [w, y, by] = [frozen([8, 8]), tensor(256), recording()];
    const slots = [
      { name: "w", kind: "read" },
      { name: "y", kind: "write" },
    ] as const;
    const { tensors, textures, spilled } = storage.bind(slots, { w, y }, by);
    expect(tensors.y).toBe(y);
    expect(tensors.w.buffer).not.toBeNull();
    expect([tensors.w.shape, tensors.w.dtype, tensors.w.label]).toEqual([w.shape, w.dtype, w.label]);
    expect(spilled).toEqual([tensors.w]);
    expect(by.copied).toEqual([[w, tensors.w]]);
    expect(textures!.size).toBe(0);
  });

  it("copies panels to one texture per unsubmitted recording, and frees it when memory is trimmed", () => {
    const { pool, storage, copies, made, tensor, recording, bound } = setUp();
    const matrix = (bytes: number) => ({ ...tensor(bytes), dtype: "f32" as const });
    const [one, other] = [recording(), recording()];
    const first = storage.panel(matrix(PANEL), one)!;
    expect([first.buffer, first.bytes, copies.length]).toEqual([null, PANEL, 1]);
    expect(bound(first, "linear", one)).toBe(first.texture);
    expect(storage.panel(matrix(1024), one)!.texture).toBe(first.texture);
    const second = storage.panel(matrix(1024), other)!;
    expect(second.texture).not.toBe(first.texture);
    expect(pool.ledger.byKind.scratch).toBe(2 * PANEL);
    storage.submitted(one);
    bound(first, "linear", one); // a product recorded after what was submitted
    expect(storage.panel(matrix(1024), recording())!.texture).not.toBe(first.texture);
    storage.submitted(one);
    expect(storage.panel(matrix(1024), recording())!.texture).toBe(first.texture);
    expect(storage.panel(matrix(PANEL + 16), one)).toBeNull();
    expect(made.length).toBe(3);
    pool.trim();
    expect(made.map(({ destroyed }) => destroyed)).toEqual([true, true, true]);
    expect(pool.ledger.byKind.scratch).toBe(0);
  });

  it("accepts whole texels up to the texture's size", () => {
    const { storage, tensor, frozen } = setUp();
    const x = tensor(1024);
    expect(storage.reads(x)).toBe(true);
    expect(storage.reads({ ...x, bytes: 1020 })).toBe(false);
    expect(storage.reads({ ...x, offset: 4 })).toBe(false);
    expect(storage.reads({ ...x, bytes: 2 ** 27 })).toBe(false);
    expect(storage.reads(frozen([8192, 4096]))).toBe(true);
  });
});
