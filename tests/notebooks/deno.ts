import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect } from "vitest";
import { type Output, startDenoKernel } from "../../scripts/deno-kernel.ts";
import { readAdapter } from "../../src/io/peft.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { notebookPath, readNotebook } from "./notebook.ts";

/** The SVGs that outputs display. */
export const drawn = (outputs: readonly Output[]) =>
  outputs.flatMap((output) => (output.output_type === "display_data" ? [String(output.data["image/svg+xml"])] : []));

/**
 * Runs cells of the Deno notebook in Deno's own kernel, with two steps a run.
 *
 * @returns outputs by cell, and the adapter that the last cell saved
 */
export async function runDenoNotebook() {
  const output = mkdtempSync(join(tmpdir(), "qwench-notebook-"));
  const kernel = await startDenoKernel(dirname(notebookPath("deno.ipynb")), {
    QWENCH_STEPS: "2",
    QWENCH_OUTPUT: output,
  });
  try {
    const outputs: Record<string, Output[]> = {};
    for (const { id, cell_type, source } of readNotebook("deno.ipynb")) {
      if (cell_type !== "code") continue;
      outputs[id] = await kernel.run(source);
      expect(outputs[id].filter(({ output_type }) => output_type === "error")).toEqual([]);
    }
    return { outputs, adapter: await readAdapter(nodeFolder(output)) };
  } finally {
    kernel.close();
    rmSync(output, { recursive: true, force: true });
  }
}
