import { describe, expect, it, vi } from "vitest";
import { view } from "../../../src/gpu/tensor.ts";
import { matmulCases } from "../../../src/kernels/matmul/matmul.cases.ts";
import { matmul } from "../../../src/kernels/matmul/matmul.ts";
import { describeCases, useGpu } from "../harness.ts";
import { checkTiles } from "./tiles.ts";

describeCases("matmul", matmulCases);

describe("matmul tiles", () => {
  const gpu = useGpu();

  it("gives the same bits from strips as from rows of texels, for every part of a matrix", async ({ skip }) => {
    const { storage, profile } = gpu();
    skip(profile.operands === "buffers", "nothing is read as texels here");
    const [m, k, n] = [72, 100, 192];
    const waves = (count: number, step: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(step * i));
    for (const transA of [false, true]) {
      const a = gpu().upload(waves(m * k, 1), transA ? [k, m] : [m, k], "f32", "a", "scratch");
      const whole = gpu().upload(waves(2 * k * n, 2), [2 * k, n], "f32", "b", "scratch");
      for (const row of [0, 64]) {
        const record = gpu().recorder();
        const part = view(whole, [k, n], row * n);
        const held = gpu().frozen([k, n], "f32", "held");
        gpu().write(held, waves(2 * k * n, 2).subarray(row * n, (row + k) * n));
        const [got, want] = [part, held].map((b) => record.read(matmul(record, a, b, { transA })));
        record.submit();
        expect(storage.strips(part) && !storage.strips(held)).toBe(true);
        expect(new Uint32Array(await got)).toEqual(new Uint32Array(await want));
        gpu().drop(held);
      }
      gpu().drop(a, whole);
    }
  });
  it("gives the same numbers with every candidate tile", async () => {
    // one product for each form; matmul.slow.ts runs the others, with staged tiles, epilogues and unaligned rows
    await checkTiles(gpu(), /^(nt .33,894,60. bf16|nn .66,88,44. bf16|tn .66,88,44. f32)$/, 3);
  });

  it("splits a long sum if b is read as texels, because a core's TLB cannot hold all its rows", async () => {
    const { profile } = gpu();
    const [m, k, n] = [16, 8_300, 64];
    const values = (count: number, seed: number) =>
      Float32Array.from({ length: count }, (_, i) => (((i * seed) % 61) - 30) / 32); // exact in bf16
    const [x, w] = [values(m * k, 7), values(k * n, 11)];
    const want = Float64Array.from({ length: m * n }, (_, at) => {
      let sum = 0;
      for (let s = 0; s < k; s++) sum += x[Math.floor(at / n) * k + s] * w[s * n + (at % n)];
      return sum;
    });
    const a = gpu().upload(x, [m, k], "f32", "a", "scratch");
    const words = Uint16Array.from(new Uint32Array(w.buffer), (bits) => bits >>> 16);
    for (const [data, dtype, frozen] of [
      [words, "bf16", true],
      [words, "bf16", false],
      [w, "f32", false],
    ] as const) {
      const b = frozen ? gpu().frozen([k, n], dtype, "b") : gpu().persistent([k, n], dtype, "b", "scratch");
      gpu().write(b, data);
      const record = gpu().recorder();
      const dispatch = vi.spyOn(record, "dispatch");
      const read = record.scope(() => record.read(matmul(record, a, b)));
      expect(dispatch.mock.calls.length > 1).toBe(profile.operands === "textures");
      record.submit();
      const got = new Float32Array(await read);
      const worst = got.reduce((most, value, i) => Math.max(most, Math.abs(value - want[i])), 0);
      expect(worst, `${dtype} ${frozen}`).toBeLessThan(5e-4); // sums of about 8300 products below 1: f32 in any order
      gpu().drop(b);
    }
    gpu().drop(a);
  });

  it("a repeated sequence copies its texel operands again, although they share few textures", async () => {
    const size = 64;
    const wave = (seed: number) =>
      Float32Array.from(
        { length: size * size },
        (_, i) => Math.sin(seed * (i + 1)) / 4 + (i % (size + 1) === 0 ? 1 : 0),
      );
    const upload = (seed: number, label: string) => gpu().upload(wave(seed), [size, size], "f32", label, "scratch");
    const weights = Array.from({ length: 6 }, (_, i) => upload(i + 2, `w${i}`));
    const x = upload(1, "x");
    const results: Uint32Array[] = [];
    for (const repeated of [false, true]) {
      gpu().write(x, wave(1));
      const record = gpu().recorder();
      // weights that are already in textures when the sequence begins
      record.scope(() => void matmul(record, x, weights[0], { transB: true }));
      const pass = () =>
        record.scope(() => {
          let y = x;
          for (const w of weights) y = matmul(record, y, w, { transB: true });
          record.copy(y, x);
        });
      if (repeated) {
        const { sequence } = record.capture(pass);
        record.submit();
        for (let i = 0; i < 2; i++) record.repeat(sequence);
      } else for (let i = 0; i < 3; i++) pass();
      const read = record.read(x);
      record.submit();
      results.push(new Uint32Array(await read));
    }
    expect(results[1]).toEqual(results[0]);
    await gpu().settle();
    gpu().drop(x, ...weights);
  });

  it("gives the same bits from texels and from buffers, also after a write to either operand", async ({ skip }) => {
    skip(gpu().profile.operands === "buffers", "nothing is read as texels here");
    const [n, k] = [72, 136];
    const bits = (count: number, seed: number) =>
      Uint16Array.from({ length: count }, (_, i) => 0x3f00 + ((i * seed) % 255));
    for (const m of [1, 3, 13]) {
      const x = gpu().upload(
        Float32Array.from({ length: m * k }, (_, i) => Math.sin(i)),
        [m, k],
        "f32",
        "x",
        "scratch",
      );
      const kept = gpu().frozen([n, k], "bf16", "kept");
      const other = gpu().persistent([n, k], "bf16", "other", "scratch");
      for (const w of [kept, other]) gpu().write(w, bits(n * k, 7));
      const run = async () => {
        const record = gpu().recorder();
        const [a, b] = [kept, other].map((w) => record.read(matmul(record, x, w, { transB: true })));
        record.submit();
        const [got, expected] = [new Float32Array(await a), new Float32Array(await b)];
        expect(got).toEqual(expected);
        return got;
      };
      const results = [await run(), await run()];
      expect(results[1]).toEqual(results[0]);
      for (const w of [kept, other]) gpu().write(w, bits(n * k, 11));
      results.push(await run());
      gpu().write(
        x,
        Float32Array.from({ length: m * k }, (_, i) => Math.cos(i)),
      );
      results.push(await run());
      expect(results[2]).not.toEqual(results[1]);
      expect(results[3]).not.toEqual(results[2]);
      expect(kept.buffer === null && other.buffer !== null).toBe(true);
      gpu().drop(x, kept, other);
    }
  });
});
