import type { KernelCase } from "../check.ts";
import { matmul, matmulReference } from "./matmul.ts";

/** [m, n, k]: aligned and not, one row, fewer rows than a tile, longer than a tile both ways, rows of whole texels. */
const SHAPES = {
  nt: [
    [1, 63, 65],
    [1, 40, 132],
    [3, 63, 68],
    [7, 33, 64],
    [65, 63, 7],
    [130, 68, 132],
    [33, 894, 60],
    [63, 16, 257],
  ],
  nn: [
    [1, 1, 1],
    [65, 63, 7],
    [130, 68, 132],
    [63, 16, 257],
    [66, 88, 44],
  ],
  tn: [
    [5, 130, 63],
    [130, 68, 132],
    [66, 88, 44],
  ],
  tt: [[33, 65, 60]],
} as const;

const DTYPES = {
  nt: ["f32", "f16", "bf16", "int8", "nf4"],
  nn: ["f32", "bf16", "int8", "nf4"],
  tn: ["f32"],
  tt: ["f32"],
} as const;

/** Quantised weights use the same loops: these shapes have rows that end inside a word or a block. */
const ODD = [3, 7, 63, 65, 130];

/** Cases of matmul in the forms that training needs: shapes, storage and tolerances. */
const plainCases: KernelCase[] = (["nt", "nn", "tn", "tt"] as const).flatMap((form) =>
  DTYPES[form].flatMap((dtype) =>
    SHAPES[form]
      .filter(([m]) => (dtype !== "int8" && dtype !== "nf4") || ODD.includes(m))
      .map(([m, n, k]): KernelCase => {
        const [transA, transB] = [form[0] === "t", form[1] === "t"];
        return {
          kernel: "matmul",
          name: `${form} [${m},${n},${k}] ${dtype}`,
          tolerance: 4e-6,
          needs: dtype === "f16" ? "f16" : undefined,
          run(check) {
            const a = check.input(transA ? [k, m] : [m, k], "a");
            const b = check.input(transB ? [n, k] : [k, n], "b", 1, dtype);
            const product = matmulReference(a.values, b.values, [m, n, k], { transA, transB });
            check.compare("c", matmul(check.record, a.tensor, b.tensor, { transA, transB }), product);
            const quantised = dtype === "int8" || dtype === "nf4";
            // one shape is enough for the epilogue, and on a CPU adapter one quantised form: each variant compiles for 1 to 2 s there
            const one = !quantised || (dtype === "int8" && form === "nt");
            if (m !== 130 || (!one && check.gpu.profile.kind === "cpu")) return;
            const bias = check.input([n], "bias", 1, quantised ? "f32" : dtype);
            const into = check.input([m, n], "into");
            const options = { transA, transB, alpha: 0.5, bias: bias.tensor, into: into.tensor, accumulate: true };
            matmul(check.record, a.tensor, b.tensor, options);
            check.compare(
              "0.5 c + bias +=",
              into.tensor,
              product.map((v, i) => into.values[i] + 0.5 * v + bias.values[i % n]),
            );
          },
        };
      }),
  ),
);

/** [m, n, k] with frozen weights as stored in a model: decoding and training, forward and backward. */
const FROZEN = [
  ["nt", 1, 40, 136],
  ["nt", 3, 40, 136],
  ["nt", 12, 40, 136],
  ["nt", 70, 132, 96],
  ["nn", 1, 88, 44],
  ["nn", 2, 88, 44],
  ["nn", 5, 88, 44],
  ["nn", 70, 88, 44],
] as const;

const frozenCases: KernelCase[] = FROZEN.flatMap(([form, m, n, k]) =>
  (["f32", "bf16"] as const).map((dtype): KernelCase => {
    const transB = form === "nt";
    return {
      kernel: "matmul",
      name: `${form} [${m},${n},${k}] ${dtype} frozen`,
      tolerance: 4e-6,
      run(check) {
        const a = check.input([m, k], "a");
        const b = check.frozen(transB ? [n, k] : [k, n], "b", dtype);
        const product = matmulReference(a.values, b.values, [m, n, k], { transB });
        check.compare("c", matmul(check.record, a.tensor, b.tensor, { transB }), product);
      },
    };
  }),
);

/** Cases of matmul. */
export const matmulCases: readonly KernelCase[] = [...plainCases, ...frozenCases];
