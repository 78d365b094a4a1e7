import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";

// What `npm start` promises, for three seeds: reinforcement brings the embedded model far above what it came with, and
// above what SFT alone made of it. On SwiftShader the schedule is short, and so is the promise. A process each: the code
// that Mesa compiles for three devices takes a third of the 65,530 mappings that Linux gives one.

const START = fileURLToPath(new URL("../../scripts/start.ts", import.meta.url));
const TSX = createRequire(import.meta.url).resolve("tsx/cli");
const root = mkdtempSync(join(tmpdir(), "qwench-start-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe("npm start", () => {
  it.each([1, 2, 3])(
    "solves more held-out problems, seed %i",
    async (seed) => {
      const output = join(root, String(seed));
      const argv = [TSX, START, "--seed", String(seed), "--output", output];
      const { stdout, stderr } = await promisify(execFile)(process.execPath, argv, { maxBuffer: 1 << 26 });
      const greedy = (stage: string) => Number(new RegExp(`^${stage} +([\\d.]+) %`, "m").exec(stdout)![1]);
      const [base, sft, grpo] = ["Before training", "After SFT", "After GRPO"].map(greedy);
      console.log(`seed ${seed}: ${base} % before training, ${sft} % after SFT, ${grpo} % after GRPO`);
      const swiftshader = /^Adapter: .*swiftshader/im.test(stderr);
      expect(grpo - base).toBeGreaterThanOrEqual(swiftshader ? 10 : 25);
      if (!swiftshader) expect(grpo - sft).toBeGreaterThanOrEqual(5);
      const lines = readFileSync(join(output, "grpo", "metrics.jsonl"), "utf8")
        .trim()
        .split("\n");
      const rewards = lines.map((line) => JSON.parse(line).reward);
      expect(rewards.at(-1)).toBeGreaterThan(rewards[0]);
    },
    1_800_000,
  );
});
