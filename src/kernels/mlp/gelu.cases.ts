import type { KernelCase } from "../check.ts";
import { type GeluKind, gelu, geluBackward, geluReference } from "./gelu.ts";

const SHAPES = [
  [1, 1, 4],
  [3, 63, 4],
  [5, 65, 1000],
  [2, 64, 8],
] as const;

/** Cases of gelu: shapes, ranges of the input and tolerances; far from 0 it is 0 or x. */
export const geluCases: KernelCase[] = (["gelu", "gelu_pytorch_tanh"] satisfies GeluKind[]).flatMap((kind) =>
  SHAPES.map(
    ([rows, cols, scale]): KernelCase => ({
      kernel: "gelu",
      name: `${kind} [${rows},${cols}] to ±${scale}, forward and backward`,
      tolerance: 2e-6,
      run(check) {
        const x = check.input([rows, cols], "x", scale);
        const dy = check.input([rows, cols], "dy");
        const y = gelu(check.record, x.tensor, kind);
        geluBackward(check.record, x.tensor, dy.tensor, kind);
        const want = geluReference(x.values, kind, dy.values);
        check.compare("y", y, want.y);
        check.compare("y again", dy.tensor, want.y);
        check.compare("dx", x.tensor, want.dx);
      },
    }),
  ),
);
