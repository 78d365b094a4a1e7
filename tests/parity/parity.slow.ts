import { expect, it } from "vitest";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { useGpu } from "../kernels/harness.ts";
import { GOLDEN, sharedPath } from "../shared.ts";
import { runParity } from "./parity.ts";
import { mergeParity } from "./parity-merge.ts";
import { modelParity, type ParityRow } from "./parity-model.ts";

const odd = sharedPath("golden/qwen2_odd");
const text = sharedPath("golden_next/qwen35_text");
const gpu = useGpu();

/** As stored, in float16, and merged. */
async function whole(folder: string, name: string): Promise<ParityRow[]> {
  const golden = nodeFolder(folder);
  const rows: ParityRow[] = await modelParity(gpu(), golden, name, "auto");
  if (gpu().features.f16) rows.push(...(await modelParity(gpu(), golden, name, "float16")));
  rows.push(...(await mergeParity(gpu(), golden, name)));
  expect(rows.filter(({ worst, tolerance }) => !(worst <= tolerance))).toEqual([]);
  return rows;
}

// Rows that begin at no multiple of four elements have products of their own: 30 s of compiling on Mesa's renderer.
it.skipIf(!odd)("agrees with transformers and PEFT for odd sizes, as stored and in float16, merged too", async () => {
  expect((await whole(odd!, "qwen2_odd")).length).toBeGreaterThan(15);
});

it.skipIf(!text)("agrees with them on Qwen3.5's language model by itself", async () => {
  const checks = (await whole(text!, "qwen35_text")).map(({ check }) => check);
  expect(checks).toContain("greedy tokens that differ");
});

it("agrees on every golden case, with vectors of the processor's own width too", async () => {
  const rows: ParityRow[] = [];
  const { left } = await runParity(gpu(), nodeFolder(GOLDEN), (row) => rows.push(row));
  expect(rows.filter(({ worst, tolerance }) => !(worst <= tolerance))).toEqual([]);
  expect(left).toEqual([]);
  expect(rows.length).toBeGreaterThan(100);
});
