import type { KernelCase } from "../check.ts";
import { blendRows, blendRowsReference, type SparseRows, transposeSparse } from "./blend-rows.ts";

/** Rows of y, rows of x, width, entries of a row. */
const SHAPES = [
  [1, 1, 1, 1],
  [63, 36, 65, 4],
  [65, 7, 894, 3],
] as const;

/** Cases of blend_rows: shapes and storage, with rows without entries, there and back. */
export const blendRowsCases: KernelCase[] = SHAPES.flatMap(([rows, columns, width, each]) =>
  (["f32", "f16", "bf16"] as const).map(
    (dtype): KernelCase => ({
      kernel: "blendRows",
      name: `[${rows},${width}] of ${columns} rows ${dtype}, and the transpose`,
      tolerance: 2e-6,
      needs: dtype === "f16" ? "f16" : undefined,
      run(check) {
        const starts = Uint32Array.from({ length: rows + 1 }, (_, r) => each * Math.max(0, r - (rows > 2 ? 1 : 0)));
        const count = starts[rows];
        const sparse: SparseRows = {
          starts,
          sources: Uint32Array.from({ length: count }, (_, e) => (e * 31 + 5) % columns),
          factors: Float32Array.from({ length: count }, () => check.random()),
        };
        const x = check.input([columns, width], "x", 1, dtype);
        const y = check.input([rows, width], "y");
        const [dy, dx] = [check.input([rows, width], "dy"), check.input([columns, width], "dx")];
        blendRows(check.record, x.tensor, sparse, y.tensor);
        const back = transposeSparse(sparse, columns);
        blendRows(check.record, dy.tensor, back, dx.tensor);
        const sum = (base: Float64Array, more: Float64Array) => base.map((v, i) => v + more[i]);
        check.compare("y", y.tensor, sum(y.values, blendRowsReference(x.values, width, sparse)));
        check.compare("dx", dx.tensor, sum(dx.values, blendRowsReference(dy.values, width, back)));
      },
    }),
  ),
);
