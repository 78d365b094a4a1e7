import type { KernelCase } from "../check.ts";
import { moveHeads, sigmoidGate, sigmoidGateBackward, sigmoidGateReference } from "./gate.ts";

/** Rows, query heads, key heads, head_dim. */
const SHAPES = [
  [1, 1, 1, 4],
  [65, 4, 2, 32],
  [7, 3, 1, 9],
  [3, 8, 2, 256],
] as const;

/** What gated attention's heads and gates are held to. */
export const gateCases: KernelCase[] = SHAPES.map(([rows, h, g, d]) => ({
  kernel: "sigmoidGate",
  name: `[${rows},${h}·${d}] over ${g}, backward`,
  tolerance: 1e-5,
  run(check) {
    const per = 2 * h + 2 * g;
    const x = check.input([rows, per * d], "x", 4);
    const o = check.input([rows, h * d], "o");
    const dy = check.input([rows, h * d], "dy");
    const dx = check.input([rows, per * d], "dx");
    const qkv = check.input([rows, (h + 2 * g) * d], "qkv");
    const y = sigmoidGate(check.record, o.tensor, x.tensor, d);
    sigmoidGateBackward(check.record, { o: o.tensor, x: x.tensor }, dy.tensor, dx.tensor, d);
    // queries to every second head, keys and values behind them
    const queries = { headDim: d, take: h };
    moveHeads(
      check.record,
      [qkv.tensor, { per: h + 2 * g, first: 0 }],
      [dx.tensor, { per, first: 0, step: 2 }],
      queries,
    );
    const rest = { headDim: d, take: 2 * g };
    moveHeads(check.record, [qkv.tensor, { per: h + 2 * g, first: h }], [dx.tensor, { per, first: 2 * h }], rest);
    const gates = Float64Array.from({ length: rows * h * d }, (_, i) => {
      const [row, head, c] = [Math.floor(i / (h * d)), Math.floor(i / d) % h, i % d];
      return x.values[(row * per + 2 * head + 1) * d + c];
    });
    const want = sigmoidGateReference(o.values, gates, dy.values);
    const wantDx = new Float64Array(rows * per * d);
    for (let row = 0; row < rows; row++) {
      for (let head = 0; head < h; head++) {
        const to = (row * per + 2 * head) * d;
        const from = (row * (h + 2 * g) + head) * d;
        wantDx.set(qkv.values.subarray(from, from + d), to);
        wantDx.set(want.dgate.subarray((row * h + head) * d, (row * h + head + 1) * d), to + d);
      }
      const from = (row * (h + 2 * g) + h) * d;
      wantDx.set(qkv.values.subarray(from, from + 2 * g * d), (row * per + 2 * h) * d);
    }
    check.compare("y", y, want.y);
    check.compare("d o", dy.tensor, want.dO);
    check.compare("d x", dx.tensor, wantDx);
  },
}));
