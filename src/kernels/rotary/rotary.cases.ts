import type { KernelCase } from "../check.ts";
import { rotary, rotaryReference } from "./rotary.ts";

const SHAPES = [
  [1, 2, 3, 2],
  [63, 4, 5, 12],
  [65, 8, 8, 24],
  [5, 16, 18, 64],
  [3, 4, 6, 128],
] as const;
const POSITIONS = 97;

/** Cases of rotary, forward and backward: heads, positions and tolerances. */
export const rotaryCases: KernelCase[] = SHAPES.flatMap(([rows, heads, stride, headDim]) =>
  [false, true].map(
    (inverse): KernelCase => ({
      kernel: "rotary",
      name: `[${rows},${heads}/${stride}·${headDim}]${inverse ? " backward" : ""}`,
      tolerance: 2e-6,
      run(check) {
        const x = check.input([rows, stride * headDim], "x");
        const table = check.input([POSITIONS, headDim], "table");
        const positions = Array.from({ length: rows }, (_, r) => (r * 31 + 5) % POSITIONS);
        const at = check.integers(positions, "positions");
        rotary(check.record, x.tensor, { positions: at, table: table.tensor }, { headDim, heads, inverse });
        const turned = rotaryReference(x.values, positions, table.values, headDim, inverse);
        const kept = (i: number) => i % (stride * headDim) >= heads * headDim;
        check.compare(
          "x",
          x.tensor,
          turned.map((v, i) => (kept(i) ? x.values[i] : v)),
        );
      },
    }),
  ),
);
