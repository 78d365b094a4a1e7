import type { SubgroupMatrix } from "../../../shaders/matmul/lib/variant.ts";
import type { GpuContext } from "../../gpu/context.ts";
import { view } from "../../gpu/tensor.ts";
import type { CaseRun, Input, KernelCase } from "../check.ts";
import { queriesKeysValues } from "./attention.cases.ts";
import { attention, attentionBackward, attentionReference, spansOf } from "./attention.ts";

/** The device's matrices of f16, else these with the builtins spelled out. */
export function matricesOf({ features }: GpuContext, [m, n, k, size]: readonly number[]): SubgroupMatrix {
  if (features.matrix?.type === "f16") return features.matrix;
  return { type: "f16", m, n, k, size, multiple: size, emulate: true };
}

interface MatrixCase {
  lengths: readonly number[];
  h: number;
  g: number;
  d: number;
  causal?: boolean;
  /** multiples of 1/16 */
  exact?: boolean;
  /** default 2e-3 */
  tolerance?: number;
  /** matrices where the device has none: m, n, k, threads of a subgroup; the fewer elements a thread has, the faster they compile */
  of?: readonly [number, number, number, number];
  /** sizes of queries, of keys, of values by token, and of the gradient by token */
  sizes?: Partial<Record<"q" | "k" | "v" | "dout", readonly number[]>>;
}

const CASES: readonly MatrixCase[] = [
  { lengths: [1], h: 2, g: 1, d: 64 },
  { lengths: [63, 1, 2, 65], h: 2, g: 1, d: 64 },
  { lengths: [33, 20], h: 4, g: 2, d: 24, of: [8, 16, 16, 128] },
  { lengths: [67, 2], h: 1, g: 1, d: 256, of: [16, 16, 16, 128] },
  { lengths: [33, 31], h: 1, g: 1, d: 80, causal: false, of: [8, 8, 8, 64] },
  // what f16 does not hold: values and gradients of very different sizes, large queries with small keys
  {
    lengths: [50, 37],
    h: 2,
    g: 1,
    d: 64,
    sizes: { q: [3e5, 1e5], k: [1e-5, 1e-5, 3e-6], v: [1, 1e6, 1e-3], dout: [1e-12, 1e-9] },
  },
  // scores that grow along a row by more than a row's scale allows, of numbers that f16 holds: their own error would be e^s
  {
    lengths: [120],
    h: 2,
    g: 1,
    d: 64,
    exact: true,
    tolerance: 1e-2, // dp - delta is then a small difference of large numbers, of which delta comes from rounded exp(score)
    sizes: { q: [4], k: [0.25, 0.25, 0.5, 0.25, 4], dout: [1, 1, 1e3] },
  },
];

/** Rows of some tokens only: each size of gradients by itself, so that the largest does not hide the others. */
function rowsOf(check: CaseRun, of: Input["tensor"], which: number, step: number) {
  const [tokens, width] = of.shape;
  const list = Array.from({ length: Math.ceil((tokens - which) / step) }, (_, i) => which + i * step);
  const picked = check.record.empty([list.length, width], "f32", "picked");
  for (const [i, row] of list.entries())
    check.record.copy(view(of, [1, width], row * width), view(picked, [1, width], i * width));
  const pick = (want: Float64Array) => list.flatMap((row) => Array.from(want.subarray(row * width, (row + 1) * width)));
  return { picked, pick };
}

/** What attention on matrix units and its gradients are held to: operands have 11 bits. */
export const attentionMatricesCases: KernelCase[] = CASES.map(
  ({ lengths, h, g, d, causal = true, exact = false, of = [16, 16, 16, 128], sizes = {}, tolerance = 2e-3 }) => ({
    kernel: "attentionMatrices",
    name: `lengths ${lengths.join("+")}, ${h} heads over ${g} of ${d}${causal ? "" : ", not causal"}${Object.entries(
      sizes,
    )
      .map(([name, values]) => `, ${name} of ${values.join(" ")}`)
      .join("")}`,
    tolerance,
    needs: "f16",
    run(check) {
      const starts = [0];
      for (const n of lengths) starts.push(starts.at(-1)! + n);
      const tokens = starts.at(-1)!;
      const heads = { num_attention_heads: h, num_key_value_heads: g, head_dim: d, causal };
      const width = (h + 2 * g) * d;
      const sized = (name: keyof typeof sizes, token: number) => {
        const list = sizes[name] ?? [1];
        return list[Math.floor((token * list.length) / tokens)];
      };
      const nameOf = (column: number) => (column < h * d ? "q" : column < (h + g) * d ? "k" : "v");
      const numbers = Float32Array.from({ length: tokens * width }, (_, i) => {
        const value = 2 * check.random();
        return sized(nameOf(i % width), Math.floor(i / width)) * (exact ? Math.round(16 * value) / 16 : value);
      });
      const qkv = check.given(numbers, [tokens, width], "qkv");
      const dout = check.given(
        Float32Array.from({ length: tokens * h * d }, (_, i) => {
          const token = Math.floor(i / (h * d));
          return (sizes.dout ?? [1])[token % (sizes.dout?.length ?? 1)] * check.random();
        }),
        [tokens, h * d],
        "dout",
      );
      const rows = spansOf(starts);
      const spans = view(check.integers([...rows], "spans"), [tokens, 2]);
      const [q, k, v] = queriesKeysValues(qkv.values, tokens, { h, g, d });
      const want = attentionReference(q, k, v, rows, heads, dout.values);
      const form = matricesOf(check.gpu, of);
      const { o, stats } = attention(check.record, qkv.tensor, spans, heads, form);
      const parts = sizes.v?.length ?? 1;
      for (let which = 0; which < parts; which++) {
        const { picked, pick } = rowsOf(check, o, which, parts);
        check.compare(`o, ${which + 1} of ${parts}`, picked, pick(want.o));
      }
      const tensors = { qkv: qkv.tensor, spans, o, dout: dout.tensor, stats };
      const dqkv = attentionBackward(check.record, tensors, heads, { form });
      for (const [what, gradient, from] of [
        ["dq", want.dq, 0],
        ["dk", want.dk, h * d],
        ["dv", want.dv, (h + g) * d],
      ] as const) {
        const count = gradient.length / tokens;
        const picked = check.record.empty([tokens, count], "f32", what);
        for (let t = 0; t < tokens; t++)
          check.record.copy(view(dqkv, [1, count], t * width + from), view(picked, [1, count], t * count));
        const steps = sizes.dout?.length ?? 1;
        if (what !== "dq") {
          check.compare(what, picked, gradient);
          continue;
        }
        for (let which = 0; which < steps; which++) {
          const rows = rowsOf(check, picked, which, steps);
          check.compare(`${what}, ${which + 1} of ${steps}`, rows.picked, rows.pick(gradient));
        }
      }
    },
  }),
);
