import { uniform01 } from "../../../shaders/lib/random.ts";
import type { KernelCase } from "../check.ts";
import { swigluReference } from "../mlp/swiglu.ts";
import { rotaryReference } from "../rotary/rotary.ts";
import { type Linear, type LinearGrads, type LinearPart, type LoraPlace, oneLinear } from "./linear.ts";
import { loraLinear } from "./lora-linear.ts";
import { loraLinearBackward } from "./lora-linear-backward.ts";
import { matmulReference } from "./matmul.ts";

const SHAPES = [
  [63, 65, 33, 3],
  [70, 96, 132, 16],
] as const;

/** The layer and all its gradients in float64. `keep` is the dropout factor of each input of lora_A. */
export function loraLinearReference(
  { x, w, bias, a, b, dy, keep }: Record<"x" | "w" | "bias" | "a" | "b" | "dy" | "keep", Float64Array>,
  scale: number,
  [rows, inner, out, r]: readonly [number, number, number, number],
) {
  const dropped = x.map((v, i) => v * keep[i]);
  const h = matmulReference(dropped, a, [rows, r, inner], { transB: true }).map((v) => v * scale);
  const base = matmulReference(x, w, [rows, out, inner], { transB: true });
  const low = matmulReference(h, b, [rows, out, r], { transB: true });
  const dh = matmulReference(dy, b, [rows, r, out]).map((v) => v * scale);
  const through = matmulReference(dh, a, [rows, inner, r]);
  return {
    y: base.map((v, i) => v + low[i] + bias[i % out]),
    dx: matmulReference(dy, w, [rows, inner, out]).map((v, i) => v + keep[i] * through[i]),
    dA: matmulReference(dh, dropped, [r, inner, rows], { transA: true }),
    dB: matmulReference(dy, h, [out, r, rows], { transA: true }),
    dW: matmulReference(dy, x, [out, inner, rows], { transA: true }),
    dbias: Float64Array.from({ length: out }, (_, j) => dy.reduce((sum, v, i) => (i % out === j ? sum + v : sum), 0)),
  };
}

/** Weight types of the cases. Each occurs once with dropout, because the mask does not depend on the weights. */
const DTYPES = { plain: ["f32", "bf16", "nf4"], dropped: [["f32"], ["bf16", "nf4"]] } as const;

/** Cases of the fused layer: shapes [rows, in, out, r], with and without dropout. */
export const loraLinearCases: KernelCase[] = SHAPES.flatMap((shape, nth) =>
  ([0, 0.25] as const).flatMap((dropout) =>
    (dropout ? DTYPES.dropped[nth] : DTYPES.plain).map((dtype): KernelCase => {
      const [rows, inner, out, r] = shape;
      return {
        kernel: "loraLinear",
        name: `[${rows},${inner}]→${out} r ${r} ${dtype}${dropout ? ` dropout ${dropout}` : ""}`,
        tolerance: 5e-6,
        run(check) {
          const x = check.input([rows, inner], "x");
          const w = check.input([out, inner], "w", 1, dtype);
          const bias = check.input([out], "bias", 1, dtype === "nf4" ? "bf16" : dtype);
          const a = check.input([r, inner], "lora_A");
          const b = check.input([out, r], "lora_B");
          const dy = check.input([rows, out], "dy");
          const zeros = (shape: number[], label: string) =>
            check.given(new Float32Array(shape[0] * (shape[1] ?? 1)), shape, label).tensor;
          const grads: LinearGrads = {
            weight: zeros([out, inner], "dW"),
            bias: zeros([out], "dbias"),
            loraA: zeros([r, inner], "dA"),
            loraB: zeros([out, r], "dB"),
          };
          const lora = { a: a.tensor, b: b.tensor, scale: 2, dropout, index: 3 };
          const layers = [oneLinear(w.tensor, bias.tensor, lora)];
          const seed = 1234;
          const { y, saved } = loraLinear(check.record, x.tensor, layers, seed);
          const dx = loraLinearBackward(check.record, x.tensor, dy.tensor, layers, {
            saved,
            grads: [grads],
            dropoutSeed: seed,
          })!;
          const salted = (seed + Math.imul(lora.index, 0x9e3779b9)) >>> 0;
          const keep = x.values.map((_, i) => (uniform01(salted, i) >= dropout ? 1 / (1 - dropout) : 0));
          const values = {
            x: x.values,
            w: w.values,
            bias: bias.values,
            a: a.values,
            b: b.values,
            dy: dy.values,
            keep,
          };
          const want = loraLinearReference(values, 2, shape);
          check.compare("y", y, want.y);
          check.compare("dx", dx, want.dx);
          check.compare("dA", grads.loraA!, want.dA);
          check.compare("dB", grads.loraB!, want.dB);
          check.compare("dW", grads.weight!, want.dW);
          check.compare("dbias", grads.bias!, want.dbias);
        },
      };
    }),
  ),
);

/** Layers that are computed together: sizes of the parts, their pairs, and the epilogue. */
interface GroupCase {
  name: string;
  rows: number;
  inner: number;
  outs: readonly number[];
  pairs: readonly boolean[];
  r: number;
  dtype?: "f32" | "bf16" | "nf4";
  dropout?: number;
  bias?: boolean;
  /** elements between one lora_A and the next, as in an aligned buffer */
  gap?: number;
  epilogue?: "rotary" | "swiglu";
  headDim?: number;
}

// biome-ignore format: one row per case
const GROUPS: GroupCase[] = [
  { name: "q k v", rows: 70, inner: 96, outs: [64, 32, 32], pairs: [true, true, true], r: 8, bias: true },
  { name: "q k v, odd", rows: 5, inner: 33, outs: [12, 7, 7], pairs: [true, false, true], r: 3, bias: true },
  { name: "q v of q k v", rows: 33, inner: 64, outs: [64, 16, 16], pairs: [true, false, true], r: 4, dtype: "bf16" },
  { name: "q k v apart", rows: 33, inner: 64, outs: [64, 16, 16], pairs: [true, true, true], r: 4, gap: 64 },
  { name: "q k v", rows: 40, inner: 64, outs: [64, 32, 32], pairs: [true, true, true], r: 8, dropout: 0.25, bias: true },
  { name: "gate up", rows: 66, inner: 64, outs: [132, 132], pairs: [true, true], r: 16, dtype: "nf4" },
  { name: "q k v", rows: 20, inner: 64, outs: [128, 64, 64], pairs: [true, false, true], r: 4, dtype: "bf16", bias: true, epilogue: "rotary", headDim: 64 },
  { name: "q k v", rows: 1, inner: 40, outs: [24, 12, 12], pairs: [false, false, false], r: 4, bias: true, epilogue: "rotary", headDim: 12 },
  { name: "q k v, odd", rows: 9, inner: 33, outs: [20, 10, 10], pairs: [true, true, true], r: 3, epilogue: "rotary", headDim: 10 },
  { name: "gate up", rows: 17, inner: 64, outs: [132, 132], pairs: [true, true], r: 4, dtype: "bf16", epilogue: "swiglu" },
  { name: "gate up", rows: 1, inner: 48, outs: [36, 36], pairs: [false, false], r: 4, epilogue: "swiglu" },
  { name: "gate up, odd", rows: 6, inner: 33, outs: [13, 13], pairs: [true, false], r: 3, epilogue: "swiglu" },
];

/** Several layers of one input, each against its own reference. */
export const linearGroupCases: KernelCase[] = GROUPS.map((group): KernelCase => {
  const { rows, inner, outs, pairs, r, dtype = "f32", dropout = 0, gap = 0, epilogue, headDim = 0 } = group;
  const width = outs.reduce((sum, out) => sum + out, 0);
  const scale = 0.5;
  const count = pairs.filter(Boolean).length;
  return {
    kernel: "linearGroup",
    name: `${group.name} [${rows},${inner}]→${outs.join("+")}${count ? ` r ${r} on ${count}` : ""} ${dtype}${dropout ? ` dropout ${dropout}` : ""}${epilogue ? ` ${epilogue}` : ""}`,
    tolerance: 5e-6,
    run(check) {
      const x = check.input([rows, inner], "x");
      const w =
        dtype === "bf16" ? check.frozen([width, inner], "w", dtype, 0.5) : check.input([width, inner], "w", 0.5, dtype);
      const bias = group.bias ? check.input([width], "bias") : null;
      const dy = check.input([rows, width], "dy");
      const a = check.input([count * (r * inner + gap) || 4], "lora_A");
      const b = check.input([width * r], "lora_B"); // a part's B is at its rows, whichever other parts have one
      const firsts = outs.map((_, i) => outs.slice(0, i).reduce((sum, out) => sum + out, 0));
      const parts = outs.map((out, i): LinearPart => ({ out, weightAt: firsts[i] * inner, biasAt: firsts[i] }));
      let nth = 0;
      const places = outs.map((_, i): LoraPlace | null =>
        pairs[i] ? { aAt: (r * inner + gap) * nth++, bAt: firsts[i] * r, index: i + 1 } : null,
      );
      const lora = count > 0 ? { a: a.tensor, b: b.tensor, r, scale, dropout, parts: places } : null;
      const layers: Linear[] = [{ inner, weight: w.tensor, bias: bias?.tensor ?? null, parts, lora }];
      const seed = 77;
      const positions = Array.from({ length: rows }, (_, t) => (t * 7) % 11);
      const table = check.input([11, headDim || 2], "table");
      const { y, saved } = loraLinear(check.record, x.tensor, layers, seed, {
        epilogue:
          epilogue === "rotary"
            ? { kind: "rotary", positions: check.integers(positions, "positions"), table: table.tensor, headDim }
            : epilogue && { kind: "swiglu" },
      });
      const zeros = (size: number, label: string) => check.given(new Float32Array(size), [size], label).tensor;
      const full = dtype === "f32";
      const grads: LinearGrads = {
        weight: full ? zeros(width * inner, "dW") : null,
        bias: full && bias ? zeros(width, "dbias") : null,
        loraA: zeros(a.values.length, "dA"),
        loraB: zeros(b.values.length, "dB"),
      };
      const dx = loraLinearBackward(check.record, x.tensor, dy.tensor, layers, {
        saved,
        grads: [grads],
        dropoutSeed: seed,
      })!;

      const wantDx = new Float64Array(rows * inner);
      const wantY = new Float64Array(rows * width);
      const dA = new Float64Array(a.values.length);
      const dB = new Float64Array(b.values.length);
      const dW: number[] = [];
      const dbias: number[] = [];
      outs.forEach((out, i) => {
        const first = firsts[i];
        const place = places[i];
        const cut = (m: Float64Array, columns: number, at: number, take: number) =>
          Float64Array.from({ length: rows * take }, (_, e) => m[Math.floor(e / take) * columns + at + (e % take)]);
        const salted = (seed + Math.imul(i + 1, 0x9e3779b9)) >>> 0;
        const keep = x.values.map((_, e) => (uniform01(salted, e) >= dropout ? 1 / (1 - dropout) : 0));
        const values = {
          x: x.values,
          w: w.values.slice(first * inner, (first + out) * inner),
          bias: bias ? bias.values.slice(first, first + out) : new Float64Array(out),
          a: place ? a.values.slice(place.aAt, place.aAt + r * inner) : new Float64Array(r * inner),
          b: place ? b.values.slice(place.bAt, place.bAt + out * r) : new Float64Array(out * r),
          dy: cut(dy.values, width, first, out),
          keep,
        };
        const want = loraLinearReference(values, scale, [rows, inner, out, r]);
        const turned =
          epilogue === "rotary" && i < 2 ? rotaryReference(want.y, positions, table.values, headDim) : want.y;
        turned.forEach((v, e) => {
          wantY[Math.floor(e / out) * width + first + (e % out)] = v;
        });
        want.dx.forEach((v, e) => {
          wantDx[e] += v;
        });
        if (place) {
          dA.set(want.dA, place.aAt);
          dB.set(want.dB, place.bAt);
        }
        dW.push(...want.dW);
        dbias.push(...want.dbias);
      });
      const half = (at: number) =>
        Float64Array.from({ length: rows * outs[0] }, (_, e) => {
          return wantY[Math.floor(e / outs[0]) * width + at + (e % outs[0])];
        });
      check.compare("y", y, epilogue === "swiglu" ? swigluReference(half(0), half(outs[0])) : wantY);
      check.compare("dx", dx, wantDx);
      if (count > 0) check.compare("dA", grads.loraA!, dA);
      if (count > 0) check.compare("dB", grads.loraB!, dB);
      if (grads.weight) check.compare("dW", grads.weight, dW);
      if (grads.bias) check.compare("dbias", grads.bias, dbias);
    },
  };
});
