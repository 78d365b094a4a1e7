import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { start } from "../../src/cli/start.ts";
import { openAdapter } from "../../src/platform/index.ts";

// What `npm start` promises, for three seeds: reinforcement brings the embedded model far above what it came with, and
// above what SFT alone made of it. On SwiftShader the schedule is short, and so is the promise.

const root = mkdtempSync(join(tmpdir(), "qwench-start-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe("npm start", () => {
  let swiftshader: boolean;
  beforeAll(async () => {
    swiftshader = /swiftshader/i.test((await openAdapter()).describe);
  });

  it.each([1, 2, 3])(
    "solves more held-out problems, seed %i",
    async (seed) => {
      const output = join(root, String(seed));
      const result = await start({ output, seed });
      expect(result).not.toBeNull();
      const { base, sft, grpo } = result!;
      console.log(`seed ${seed}: ${base} as it comes, ${sft} after SFT, ${grpo} after GRPO`);
      expect(grpo - base).toBeGreaterThanOrEqual(swiftshader ? 0.1 : 0.25);
      if (!swiftshader) expect(grpo - sft).toBeGreaterThanOrEqual(0.05);
      const records = readFileSync(join(output, "grpo", "metrics.jsonl"), "utf8")
        .trim()
        .split("\n");
      const rewards = records.map((line) => JSON.parse(line).reward).filter((reward) => reward !== undefined);
      expect(rewards.at(-1)).toBeGreaterThan(rewards[0]);
    },
    1_800_000,
  );
});
