import { it } from "vitest";
import { matmulFormCases } from "../../../src/kernels/matmul/matmul-form.cases.ts";
import { describeCases, useGpu } from "../harness.ts";
import { checkOwnChoice } from "./few-rows.ts";
import { checkTiles, STAGED } from "./tiles.ts";

const gpu = useGpu();

describeCases("matmul forms", matmulFormCases);

it("gives the same numbers with every candidate tile and with staged tiles, with epilogues and unaligned rows", async () => {
  await checkTiles(gpu(), /^((nt|nn) .(130,68,132|65,63,7). bf16|tn .130,68,132. f32)$/, 5, STAGED);
});

it("a GPU's own choice gives a row the same bits in batches of up to 64 rows", async () => {
  await checkOwnChoice([2, 8, 17, 64]);
});
