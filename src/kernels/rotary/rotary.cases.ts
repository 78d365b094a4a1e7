import type { KernelCase } from "../check.ts";
import { rotary, rotaryReference } from "./rotary.ts";

/** Rows, heads that turn, heads, elements of a head, and how many of those turn. */
const SHAPES = [
  [1, 2, 3, 2, 2],
  [63, 4, 5, 12, 12],
  [65, 8, 8, 24, 24],
  [5, 16, 18, 64, 64],
  [3, 4, 6, 128, 128],
  [7, 3, 4, 32, 16],
  [5, 2, 3, 256, 64],
  [5, 2, 3, 11, 6],
] as const;
const POSITIONS = 97;

/** Heads, positions and tolerances that rotary is held to, forwards and backwards. */
export const rotaryCases: KernelCase[] = SHAPES.flatMap(([rows, heads, stride, headDim, turned]) =>
  [false, true].map(
    (inverse): KernelCase => ({
      kernel: "rotary",
      name: `[${rows},${heads}/${stride}·${headDim}]${turned < headDim ? `, ${turned} of a head` : ""}${inverse ? " backward" : ""}`,
      tolerance: 2e-6,
      run(check) {
        const x = check.input([rows, stride * headDim], "x");
        const table = check.input([POSITIONS, turned], "table");
        const positions = Array.from({ length: rows }, (_, r) => (r * 31 + 5) % POSITIONS);
        const at = check.integers(positions, "positions");
        rotary(check.record, x.tensor, { positions: at, table: table.tensor }, { headDim, heads, inverse });
        const made = rotaryReference(x.values, positions, table.values, headDim, inverse, turned);
        const kept = (i: number) => i % (stride * headDim) >= heads * headDim;
        check.compare(
          "x",
          x.tensor,
          made.map((v, i) => (kept(i) ? x.values[i] : v)),
        );
      },
    }),
  ),
);
