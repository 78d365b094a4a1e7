import { describe, expect, it } from "vitest";
import { bufferOf, inTexture, type Tensor, view } from "../../../src/gpu/tensor.ts";
import { matmul } from "../../../src/kernels/matmul/matmul.ts";
import { useGpu } from "../../kernels/harness.ts";

const negate = () => `
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < arrayLength(&x)) { y[id.x] = -x[id.x]; }
}`;

/** More than one row of texels, and not a whole number of them. */
const SHAPE = [100, 1000];
const COUNT = SHAPE[0] * SHAPE[1];

describe("frozen weights", () => {
  const gpu = useGpu();
  const values = Float32Array.from({ length: COUNT }, (_, i) => Math.sin(i));
  const made = (): Tensor => {
    const w = gpu().frozen(SHAPE, "f32", "w");
    gpu().write(w, values);
    return w;
  };

  it("are stored only in a texture if products read textures", () => {
    const before = gpu().pool.ledger.byKind.weights ?? 0;
    const w = made();
    expect(inTexture(w) && w.buffer === null).toBe(gpu().profile.operands === "textures");
    const taken = gpu().pool.ledger.byKind.weights! - before;
    expect(taken).toBeGreaterThanOrEqual(4 * COUNT);
    expect(taken).toBeLessThan(4 * COUNT + 65_536); // whole rows of texels
    gpu().drop(w);
    expect(gpu().pool.ledger.byKind.weights).toBe(before);
  });

  it("read back as written, also in pieces", async () => {
    const w = made();
    expect(await gpu().readF32(w)).toEqual(values);
    const want = values.slice();
    for (const [first, count] of [
      [4, 8],
      [16_380, 40_000],
      [COUNT - 4, 4],
    ]) {
      const piece = Float32Array.from({ length: count }, (_, i) => i + first);
      want.set(piece, first);
      gpu().write(w, piece, 4 * first);
    }
    expect(await gpu().readF32(w)).toEqual(want);
    gpu().drop(w);
  });

  it("are zero until they are written", async () => {
    const w = gpu().frozen(SHAPE, "f32", "w");
    expect(await gpu().readF32(w)).toEqual(new Float32Array(COUNT));
    gpu().drop(w);
  });

  it("can be read by a kernel that uses only buffers, and copied, also in a captured sequence", async () => {
    const w = made();
    const record = gpu().recorder();
    const [negated, copied] = [record.empty(SHAPE, "f32", "y"), record.empty(SHAPE, "f32", "z")];
    const { sequence } = record.capture(() => {
      record.dispatch(negate, {}, { x: w, y: negated }, {}, Math.ceil(COUNT / 64));
      record.copy(w, copied);
    });
    const first = values.map((value) => -value);
    record.submit();
    expect(await gpu().readF32(negated)).toEqual(first);
    gpu().write(w, first);
    record.repeat(sequence);
    record.submit();
    expect(await gpu().readF32(negated)).toEqual(values);
    expect(await gpu().readF32(copied)).toEqual(first);
    record.release(negated, copied);
    gpu().drop(w);
  });

  it("refuse kernel writes, views, and writes between texels", ({ skip }) => {
    skip(gpu().profile.operands === "buffers", "they are buffers");
    const w = made();
    const record = gpu().recorder();
    const why = "Cannot use w [100,1000] as a buffer: it is in a texture, which only products can read";
    const x = record.zeros(SHAPE, "f32", "x");
    expect(() => record.dispatch(negate, {}, { x, y: w }, {}, 1)).toThrow(why);
    expect(() => record.clear(w)).toThrow(why);
    expect(() => view(w, [10])).toThrow(why);
    expect(() => bufferOf(w)).toThrow(why);
    expect(() => gpu().write(w, new Float32Array(4), 8)).toThrow("Cannot write 16 bytes at 8 of w");
    record.release(x);
    record.submit();
    gpu().drop(w);
  });

  it("give the same products as buffers, without a copy to a buffer", async () => {
    const w = made();
    const held = gpu().upload(values, SHAPE, "f32", "held", "scratch");
    const x = gpu().upload(values.subarray(0, 3 * 1000), [3, 1000], "f32", "x", "scratch");
    const record = gpu().recorder();
    const before = gpu().pool.ledger.byKind.scratch ?? 0;
    const got = record.read(matmul(record, x, w, { transB: true }));
    if (inTexture(w)) expect((gpu().pool.ledger.byKind.scratch ?? 0) - before).toBeLessThan(4 * COUNT);
    const want = record.read(matmul(record, x, held, { transB: true }));
    record.submit();
    expect(await got).toEqual(await want);
    gpu().drop(w, held, x);
  });
});
