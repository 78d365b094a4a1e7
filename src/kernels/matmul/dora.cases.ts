import { uniform01 } from "../../../shaders/lib/random.ts";
import type { KernelCase } from "../check.ts";
import { doraGains, doraNormsReference, startMagnitudes } from "./dora.ts";
import { type Dora, type Linear, type LinearGrads, type LinearPart, type LoraPlace, oneLinear } from "./linear.ts";
import { loraLinear } from "./lora-linear.ts";
import { loraLinearBackward } from "./lora-linear-backward.ts";
import { matmulReference } from "./matmul.ts";

/** Values of one part of a layer with DoRA. */
type Values = Record<"x" | "w" | "bias" | "a" | "b" | "m" | "dy", Float64Array>;

/**
 * A layer with DoRA and all gradients of its adapter in float64: `y = (x − x_d)·Wᵀ + g∘(x_d·Wᵀ + s·x_d·Aᵀ·Bᵀ) + b` with
 * `g = m / ‖W + s·B·A‖`, whose norm is a constant in the gradients.
 *
 * @param keep dropout factor of each input of the adapter: x_d = keep∘x
 * @param norms of the rows; default: computed from the values
 */
export function doraLinearReference(
  { x, w, bias, a, b, m, dy }: Values,
  keep: Float64Array,
  scale: number,
  [rows, inner, out, r]: readonly [number, number, number, number],
  norms = doraNormsReference(w, matmulReference(b, a, [out, inner, r]), scale, inner),
) {
  const gain = m.map((v, j) => v / norms[j]);
  const dropped = x.map((v, i) => v * keep[i]);
  const h = matmulReference(dropped, a, [rows, r, inner], { transB: true }).map((v) => v * scale);
  const low = matmulReference(h, b, [rows, out, r], { transB: true });
  const u = matmulReference(dropped, w, [rows, out, inner], { transB: true }).map((v, i) => v + low[i]);
  const rest = matmulReference(
    x.map((v, i) => v - dropped[i]),
    w,
    [rows, out, inner],
    { transB: true },
  );
  const gained = dy.map((v, i) => v * gain[i % out]);
  const dh = matmulReference(gained, b, [rows, r, out]).map((v) => v * scale);
  const through = matmulReference(dh, a, [rows, inner, r]);
  const whole = matmulReference(gained, w, [rows, inner, out]);
  const plain = matmulReference(dy, w, [rows, inner, out]);
  const dm = new Float64Array(out);
  u.forEach((v, i) => {
    dm[i % out] += (dy[i] * v) / norms[i % out];
  });
  return {
    norms,
    y: u.map((v, i) => rest[i] + gain[i % out] * v + bias[i % out]),
    dx: plain.map((v, i) => (1 - keep[i]) * v + keep[i] * (whole[i] + through[i])),
    dA: matmulReference(dh, dropped, [r, inner, rows], { transA: true }),
    dB: matmulReference(gained, h, [out, r, rows], { transA: true }),
    dm,
  };
}

/** Layers that are computed together: sizes of the parts, and their pairs. */
interface DoraCase {
  rows: number;
  inner: number;
  outs: readonly number[];
  pairs: readonly boolean[];
  r: number;
  dtype: "f32" | "bf16" | "nf4";
  dropout?: number;
  bias?: boolean;
}

// biome-ignore format: one row per case
const CASES: DoraCase[] = [
  { rows: 70, inner: 64, outs: [64, 32, 32], pairs: [true, false, true], r: 8, dtype: "bf16", bias: true },
  { rows: 20, inner: 128, outs: [132, 132], pairs: [true, true], r: 16, dtype: "nf4" },
  { rows: 9, inner: 33, outs: [13, 13], pairs: [true, true], r: 3, dtype: "f32", dropout: 0.5, bias: true },
];

/** Weights for the norms alone: in, out, r, and how they are stored. */
const NORMS = [
  [33, 1, 3, "f32"],
  [64, 65, 8, "f16"],
  [894, 63, 1, "bf16"],
  [128, 66, 4, "int8"],
  [64, 96, 16, "nf4"],
] as const;

const SCALE = 0.5;
const SEED = 77;

/** The magnitudes of new adapters, from weights of every kind. */
const normCases = NORMS.map(([inner, out, r, dtype]): KernelCase => {
  return {
    kernel: "dora",
    name: `norms of [${out},${inner}] r ${r} ${dtype}`,
    tolerance: 2e-6,
    ...(dtype === "f16" && { needs: "f16" as const }),
    run(check) {
      const w = check.input([out, inner], "w", 0.5, dtype);
      const a = check.input([r, inner], "lora_A");
      const b = check.input([out, r], "lora_B");
      const magnitude = check.given(new Float32Array(out), [out], "magnitude").tensor;
      const gains = check.given(new Float32Array(2 * out), [2, out], "gains").tensor;
      const dora = { magnitude, at: [0], gains };
      const lora = { a: a.tensor, b: b.tensor, scale: SCALE, dropout: 0, index: 0, dora };
      startMagnitudes(check.record, oneLinear(w.tensor, null, lora));
      const ba = matmulReference(b.values, a.values, [out, inner, r]);
      check.compare("magnitude", magnitude, doraNormsReference(w.values, ba, SCALE, inner));
    },
  };
});

/** Layers with DoRA: output, and every gradient of the adapter and of the input. */
const layerCases = CASES.map((item): KernelCase => {
  const { rows, inner, outs, pairs, r, dtype, dropout = 0 } = item;
  const width = outs.reduce((sum, out) => sum + out, 0);
  return {
    kernel: "dora",
    name: `[${rows},${inner}]→${outs.join("+")} r ${r} on ${pairs.filter(Boolean).length} ${dtype}${dropout ? ` dropout ${dropout}` : ""}`,
    tolerance: 5e-6,
    run(check) {
      const x = check.input([rows, inner], "x");
      const w =
        dtype === "bf16" ? check.frozen([width, inner], "w", dtype, 0.5) : check.input([width, inner], "w", 0.5, dtype);
      const bias = item.bias ? check.input([width], "bias") : null;
      const dy = check.input([rows, width], "dy");
      const firsts = outs.map((_, i) => outs.slice(0, i).reduce((sum, out) => sum + out, 0));
      const a = check.input([outs.length * r * inner], "lora_A");
      const b = check.input([width * r], "lora_B");
      const m = check.input([width], "magnitude");
      const parts = outs.map((out, i): LinearPart => ({ out, weightAt: firsts[i] * inner, biasAt: firsts[i] }));
      const places = outs.map((_, i): LoraPlace | null =>
        pairs[i] ? { aAt: i * r * inner, bAt: firsts[i] * r, index: i + 1 } : null,
      );
      const gains = check.given(new Float32Array(2 * width).fill(1), [2, width], "gains").tensor;
      const dora: Dora = { magnitude: m.tensor, at: firsts.map((at, i) => (pairs[i] ? at : null)), gains };
      const lora = { a: a.tensor, b: b.tensor, r, scale: SCALE, dropout, parts: places, dora };
      const layers: Linear[] = [{ inner, weight: w.tensor, bias: bias?.tensor ?? null, parts, lora }];
      doraGains(check.record, layers[0]);
      const { y, saved } = loraLinear(check.record, x.tensor, layers, SEED);
      const zeros = (size: number, label: string) => check.given(new Float32Array(size), [size], label).tensor;
      const grads: LinearGrads = {
        weight: null,
        bias: null,
        loraA: zeros(a.values.length, "dA"),
        loraB: zeros(b.values.length, "dB"),
        magnitude: zeros(width, "dm"),
      };
      const back = { saved, grads: [grads], dropoutSeed: SEED };
      const dx = loraLinearBackward(check.record, x.tensor, dy.tensor, layers, back)!;
      const [wantY, wantDx] = [new Float64Array(rows * width), new Float64Array(rows * inner)];
      const [dA, dB, dm] = [a, b, m].map(({ values }) => new Float64Array(values.length));
      outs.forEach((out, i) => {
        const first = firsts[i];
        const cut = (from: Float64Array, at: number, size: number) => from.slice(at, at + size);
        const salted = (SEED + Math.imul(i + 1, 0x9e3779b9)) >>> 0;
        const keep = x.values.map((_, e) => (uniform01(salted, e) >= dropout ? 1 / (1 - dropout) : 0));
        const [a1, b1] = [cut(a.values, i * r * inner, r * inner), cut(b.values, first * r, out * r)];
        const values = {
          x: x.values,
          w: cut(w.values, first * inner, out * inner),
          bias: bias ? cut(bias.values, first, out) : new Float64Array(out),
          a: places[i] ? a1 : a1.fill(0),
          b: places[i] ? b1 : b1.fill(0),
          m: cut(m.values, first, out),
          dy: Float64Array.from({ length: rows * out }, (_, e) => {
            return dy.values[Math.floor(e / out) * width + first + (e % out)];
          }),
        };
        const plain = { ...values, m: new Float64Array(out).fill(1) };
        const want = places[i]
          ? doraLinearReference(values, keep, SCALE, [rows, inner, out, r])
          : doraLinearReference(plain, keep, SCALE, [rows, inner, out, r], plain.m); // a gain of 1
        want.y.forEach((v, e) => {
          wantY[Math.floor(e / out) * width + first + (e % out)] = v;
        });
        want.dx.forEach((v, e) => {
          wantDx[e] += v;
        });
        if (!places[i]) return;
        dA.set(want.dA, i * r * inner);
        dB.set(want.dB, first * r);
        dm.set(want.dm, first);
      });
      check.compare("y", y, wantY);
      check.compare("dx", dx, wantDx);
      check.compare("dA", grads.loraA!, dA);
      check.compare("dB", grads.loraB!, dB);
      check.compare("dm", grads.magnitude!, dm);
    },
  };
});

/** Cases of DoRA's kernels. */
export const doraCases: KernelCase[] = [...normCases, ...layerCases];
