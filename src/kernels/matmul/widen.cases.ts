import type { KernelCase } from "../check.ts";
import { widen } from "./widen.ts";

/** [rows, columns], first, count, at: whole blocks, half a block, a range within. */
const RANGES = [
  [63, 64, 0, 4032, 0],
  [1, 32, 0, 32, 0],
  [130, 96, 480, 3072, 64],
] as const;

/** Cases of widen: all codes of a matrix, and a range that begins in the middle of a block. */
export const widenCases: KernelCase[] = (["int8", "nf4"] as const).flatMap((dtype) =>
  RANGES.map(([rows, columns, first, count, at]): KernelCase => {
    return {
      kernel: "widen",
      name: `${count} from ${first} of [${rows},${columns}] ${dtype} to ${at}`,
      tolerance: 1e-7,
      run(check) {
        const codes = check.input([rows, columns], "codes", 1, dtype);
        const before = check.input([at + count + 32], "wide");
        widen(check.record, codes.tensor, before.tensor, { first, count, at });
        const want = before.values.slice();
        want.set(codes.values.subarray(first, first + count), at);
        check.compare("wide", before.tensor, want);
      },
    };
  }),
);
