import { uniform01 } from "../../shaders/lib/random.ts";
import type { KernelCase } from "./check.ts";
import { type LinearGrads, loraLinear, loraLinearBackward } from "./lora-linear.ts";
import { matmulReference } from "./matmul.ts";

const SHAPES = [
  [63, 65, 33, 3],
  [70, 96, 132, 16],
] as const;

/** The layer and all its gradients in float64. `keep` is the dropout factor of each input of lora_A. */
export function loraLinearReference(
  x: Float64Array,
  w: Float64Array,
  bias: Float64Array,
  a: Float64Array,
  b: Float64Array,
  dy: Float64Array,
  keep: Float64Array,
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

/** Shapes [rows, in, out, r] that the fused layer is held to, with and without dropout. */
export const loraLinearCases: KernelCase[] = SHAPES.flatMap((shape) =>
  ([0, 0.25] as const).flatMap((dropout) =>
    (["f32", "bf16", "nf4"] as const).map((dtype): KernelCase => {
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
          const layer = { weight: w.tensor, bias: bias.tensor, lora };
          const seed = 1234;
          const { y, saved } = loraLinear(check.record, x.tensor, layer, seed);
          const dx = loraLinearBackward(check.record, x.tensor, dy.tensor, layer, saved, grads, seed)!;
          const salted = (seed + Math.imul(lora.index, 0x9e3779b9)) >>> 0;
          const keep = x.values.map((_, i) => (uniform01(salted, i) >= dropout ? 1 / (1 - dropout) : 0));
          const want = loraLinearReference(
            x.values,
            w.values,
            bias.values,
            a.values,
            b.values,
            dy.values,
            keep,
            2,
            shape,
          );
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
