import { beforeAll, describe, expect, it } from "vitest";
import { embeddedModelFolder } from "../../src/cli/sources/embedded-folder.ts";
import { embeddedRows } from "../../src/data/sets/embedded.ts";
import type { Tokenizer } from "../../src/data/tokenizer.ts";
import { ShapeError } from "../../src/errors.ts";
import { accuracy, passAtK, type Solved, solve } from "../../src/eval/solve.ts";
import { openCheckpoint } from "../../src/io/checkpoint.ts";
import { loadModel } from "../../src/model/files/load.ts";
import type { Transformer } from "../../src/model/transformer.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { goldAnswer } from "../../src/rewards/answers.ts";
import { isRight } from "../../src/rewards/final-answer.ts";
import { openTokenizer } from "../../src/session/tokenizer.ts";
import { useGpu } from "../kernels/harness.ts";

const choose = (n: number, k: number): number => (k === 0 ? 1 : (choose(n - 1, k - 1) * n) / k);

describe("pass@k", () => {
  it("is the chance that k of n completions, c of them right, hold a right one", () => {
    for (let n = 1; n <= 8; n++) {
      for (let c = 0; c <= n; c++) {
        for (let k = 1; k <= n; k++) {
          const miss = n - c < k ? 0 : choose(n - c, k) / choose(n, k);
          expect(passAtK(n, c, k)).toBeCloseTo(1 - miss, 12);
        }
      }
    }
  });

  it("refuses more than there are", () => {
    expect(() => passAtK(4, 1, 5)).toThrow(ShapeError);
    expect(() => passAtK(4, 5, 1)).toThrow("with 5 correct");
  });
});

it("accuracy is the share of completions, and none has none", () => {
  const solved = (right: boolean[]): Solved => ({ completions: right.map(String), right, tokens: 1 });
  expect(accuracy([solved([true, false]), solved([true, true])])).toBe(0.75);
  expect(() => accuracy([])).toThrow(ShapeError);
});

describe("the embedded model", () => {
  const gpu = useGpu();
  let model: Transformer;
  let tokenizer: Tokenizer;
  const problems = embeddedRows("test", 32);

  beforeAll(async () => {
    const folder = nodeFolder(embeddedModelFolder());
    model = await loadModel(gpu(), await openCheckpoint(folder));
    tokenizer = (await openTokenizer(folder))!;
  });

  it("often solves a held-out problem, and often guesses", async () => {
    const greedy = await solve(model, tokenizer, problems, { max_new_tokens: 48 });
    expect(accuracy(greedy)).toBeLessThan(0.5);
    const sampled = await solve(model, tokenizer, problems, { max_new_tokens: 48, temperature: 1, samples: 8 });
    expect(sampled.every(({ completions, right }) => completions.length === 8 && right.length === 8)).toBe(true);
    const passed = sampled.filter(({ right }) => right.some(Boolean)).length / problems.length;
    expect(passed).toBeGreaterThan(0.75);
    expect(accuracy(sampled)).toBeGreaterThan(0.15);
    sampled.forEach(({ completions, right }, p) => {
      const gold = goldAnswer({ answer: problems[p].answer });
      expect(completions.map((text) => isRight(text, gold))).toEqual(right);
      for (const text of completions) expect(text).not.toContain("<|");
    });
  });

  it("says how far it is", async () => {
    const seen: string[] = [];
    const onProgress = (done: number, total: number) => seen.push(`${done}/${total}`);
    await solve(model, tokenizer, problems.slice(0, 5), { max_new_tokens: 48, onProgress });
    expect(seen).toEqual(["1/5", "2/5", "3/5", "4/5", "5/5"]);
  });
});
