import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { readAdapter } from "../../src/io/peft.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { root } from "../docs/blocks.ts";

// Deno has no subgroups on llvmpipe and compiles kernels of its own for it; the suite trains in Deno by the notebook.
test("sft.ts runs in Deno too", async () => {
  const folder = mkdtempSync(join(tmpdir(), "qwench-deno-"));
  try {
    const deno = createRequire(import.meta.url).resolve("deno/bin.cjs");
    const args = ["run", "--no-check", "-A", "examples/sft.ts", join(folder, "adapter"), "1"];
    const { stdout } = await promisify(execFile)(process.execPath, [deno, ...args], { cwd: root });
    expect(stdout).toMatch(/1024 rows.*\nstep 1: loss [\d.]+\nAdapter: /);
    expect((await readAdapter(nodeFolder(join(folder, "adapter")))).config.r).toBe(16);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
