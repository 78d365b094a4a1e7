import type { KernelCase } from "./check.ts";
import { rotary, rotaryReference } from "./rotary.ts";

const SHAPES = [
  [1, 1, 1, 2],
  [63, 3, 1, 12],
  [65, 7, 1, 24],
  [5, 14, 2, 64],
  [3, 2, 2, 128],
] as const;
const POSITIONS = 97;

/** Heads, positions and tolerances that rotary is held to, forwards and backwards. */
export const rotaryCases: KernelCase[] = SHAPES.flatMap(([rows, queryHeads, keyHeads, headDim]) =>
  [false, true].map(
    (inverse): KernelCase => ({
      kernel: "rotary",
      name: `[${rows},${queryHeads}/${keyHeads}·${headDim}]${inverse ? " backward" : ""}`,
      tolerance: 2e-6,
      run(check) {
        const q = check.input([rows, queryHeads * headDim], "q");
        const k = check.input([rows, keyHeads * headDim], "k");
        const table = check.input([POSITIONS, headDim], "table");
        const positions = Array.from({ length: rows }, (_, r) => (r * 31 + 5) % POSITIONS);
        const at = check.integers(positions, "positions");
        rotary(check.record, q.tensor, k.tensor, at, table.tensor, headDim, inverse);
        check.compare("q", q.tensor, rotaryReference(q.values, positions, table.values, headDim, inverse));
        check.compare("k", k.tensor, rotaryReference(k.values, positions, table.values, headDim, inverse));
      },
    }),
  ),
);
