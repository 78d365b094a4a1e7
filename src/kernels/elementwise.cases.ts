import type { KernelCase } from "./check.ts";
import {
  add,
  biasBackward,
  biasBackwardReference,
  gatherRows,
  gatherRowsReference,
  reduceSum,
  roundBf16,
  roundBf16Reference,
  scale,
  scatterRows,
  scatterRowsReference,
  widenBf16,
} from "./elementwise.ts";

const LENGTHS = [1, 63, 65, 894, 4096, 70_000];
const SHAPES = [
  [1, 1],
  [63, 65],
  [65, 63],
  [7, 894],
  [130, 24],
] as const;

/** Cases of the element-wise kernels: lengths, shapes and tolerances. */
export const elementwiseCases: KernelCase[] = [
  ...LENGTHS.map(
    (n): KernelCase => ({
      kernel: "elementwise",
      name: `[${n}] add, scale, sum`,
      tolerance: 2e-6,
      run(check) {
        const x = check.input([n], "x");
        const y = check.input([n], "y");
        const z = check.input([n], "z");
        const positive = check.given(
          Float32Array.from({ length: n }, () => check.random() + 1.5),
          [n],
          "positive",
        );
        add(check.record, x.tensor, y.tensor);
        scale(check.record, z.tensor, -0.3);
        check.compare(
          "x + y",
          x.tensor,
          x.values.map((v, i) => v + y.values[i]),
        );
        check.compare(
          "scaled",
          z.tensor,
          z.values.map((v) => -0.3 * v),
        );
        check.compare("sum", reduceSum(check.record, positive.tensor), [positive.values.reduce((a, b) => a + b)]);
      },
    }),
  ),
  ...LENGTHS.map(
    (n): KernelCase => ({
      kernel: "elementwise",
      name: `[${n}] rounded to bf16`,
      tolerance: 0,
      run(check) {
        // powers of two from 2^-60 to 2^60; every fifth is halfway between two neighbours
        const values = Float32Array.from({ length: n }, (_, i) => {
          const mantissa = i % 5 === 0 ? 1 + (2 * (i % 127) + 1) / 256 : 1 + Math.abs(check.random()) / 2;
          return (i % 2 ? 1 : -1) * 2 ** ((i % 121) - 60) * mantissa;
        });
        const x = check.given(values, [n], "x");
        const back = widenBf16(check.record, roundBf16(check.record, x.tensor));
        check.compare("widened", back, x.values.map(roundBf16Reference));
      },
    }),
  ),
  ...SHAPES.map(
    ([rows, width]): KernelCase => ({
      kernel: "elementwise",
      name: `[${rows},${width}] gather, scatter, bias gradient`,
      tolerance: 2e-6,
      run(check) {
        const x = check.input([rows, width], "x");
        const dbias = check.input([width], "dbias");
        // every other row, from the last to the first
        const list = Array.from({ length: Math.ceil(rows / 2) }, (_, i) => rows - 1 - 2 * i);
        const indices = check.integers(list, "indices");
        const picked = gatherRows(check.record, x.tensor, indices);
        const into = check.record.zeros([rows, width], "f32", "into");
        scatterRows(check.record, picked, indices, into);
        biasBackward(check.record, x.tensor, dbias.tensor);
        const want = gatherRowsReference(x.values, width, list);
        check.compare("gathered", picked, want);
        check.compare("scattered", into, scatterRowsReference(want, width, list, rows));
        check.compare(
          "dbias",
          dbias.tensor,
          biasBackwardReference(x.values, width).map((d, i) => d + dbias.values[i]),
        );
      },
    }),
  ),
];
