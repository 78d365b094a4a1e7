import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { type DenoKernel, type Output, startDenoKernel } from "../../scripts/deno-kernel.ts";
import { readAdapter } from "../../src/io/peft.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { notebookPath, readNotebook } from "./notebook.ts";

/** The SVGs that outputs display. */
const drawn = (outputs: readonly Output[]) =>
  outputs.flatMap((output) => (output.output_type === "display_data" ? [String(output.data["image/svg+xml"])] : []));

test("the Deno notebook trains by examples, then by rewards, in Deno's own kernel, and draws the curves", async () => {
  const output = mkdtempSync(join(tmpdir(), "qwench-notebook-"));
  let kernel: DenoKernel | null = null;
  try {
    kernel = await startDenoKernel(dirname(notebookPath("deno.ipynb")), { QWENCH_STEPS: "2", QWENCH_OUTPUT: output });
    const outputs: Record<string, Output[]> = {};
    for (const { id, cell_type, source } of readNotebook("deno.ipynb")) {
      if (cell_type !== "code") continue;
      outputs[id] = await kernel.run(source);
      expect(outputs[id].filter(({ output_type }) => output_type === "error")).toEqual([]);
    }
    expect(drawn(outputs.sft)).toEqual([expect.stringMatching(/^<svg xmlns.*>Loss<.*train \d/s)]);
    expect(drawn(outputs.grpo)).toEqual([expect.stringMatching(/^<svg xmlns.*>Reward<.*all \d.*correctness \d/s)]);
    expect(outputs.completion).toMatchObject([
      { output_type: "stream", text: expect.stringContaining("<|im_start|>user") },
    ]);
    const adapter = await readAdapter(nodeFolder(output));
    expect(adapter.config.r).toBe(16);
  } finally {
    kernel?.close();
    rmSync(output, { recursive: true, force: true });
  }
});

test("the Deno notebook shows what such a run drew", () => {
  const figures = readNotebook("deno.ipynb").flatMap(({ outputs }) => drawn((outputs ?? []) as Output[]));
  expect(figures.map((svg) => /font-weight="600">([^<]+)</.exec(svg)?.[1])).toEqual(["Loss", "Reward"]);
});

test("an error in a cell is told, and the kernel goes on", async () => {
  const kernel = await startDenoKernel(tmpdir());
  try {
    expect(await kernel.run(`throw new TypeError("meant")`)).toMatchObject([
      { output_type: "error", ename: "TypeError" },
    ]);
    expect(await kernel.run(`console.log("a".repeat(300)); 1 + 1`)).toMatchObject([
      { output_type: "stream", text: `${"a".repeat(300)}\n` },
      { output_type: "execute_result", data: { "text/plain": expect.stringContaining("2") } },
    ]);
  } finally {
    kernel.close();
  }
});
