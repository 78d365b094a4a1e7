import { describe, expect, it } from "vitest";
import { compareEvaluations } from "../../src/eval/compare/compare.ts";
import { readEvaluation } from "../../src/eval/compare/file.ts";
import { renderComparison } from "../../src/report/compare.ts";
import type { CodeOutcome } from "../../src/rewards/code/outcome.ts";
import { evaluationText, type FileOptions, type Told } from "../eval/compare/fixtures.ts";

const evil = `"><img src=x onerror=alert(1)><script>alert('&')</script>`;
const page = (...files: [name: string, told: readonly Told[], options?: FileOptions][]) =>
  renderComparison(
    compareEvaluations(
      files.map(([name, told, options], i) => readEvaluation(evaluationText(name, told, options), `${i}.json`)),
      { resamples: 200 },
    ),
  );
const at = (step: number): FileOptions => ({ adapter: `out/checkpoint-${step}` });

describe("renderComparison", () => {
  it("shows scores, curves over steps, what was lost and won, and every problem", () => {
    const html = page(
      ["base", [[4, 8], "error", [0, 8], [8, 8]]],
      [
        "checkpoint-16",
        [
          [8, 8],
          [5, 8],
          [0, 8],
          [8, 8],
        ],
        at(16),
      ],
      [
        "checkpoint-32",
        [
          [0, 8],
          [6, 8],
          [0, 8],
          [8, 8],
        ],
        at(32),
      ],
    );
    expect(html).toContain("<title>Comparison of base, checkpoint-16, checkpoint-32</title>");
    for (const text of [
      "<h2>gsm8k</h2>",
      "Scores over steps, %",
      "Percentage points above base, with",
      "Problems solved, %",
    ]) {
      expect(html).toContain(text);
    }
    expect(html).toContain("<li>gsm8k: the evaluation of base failed on 1 problem, which counts as not solved</li>");
    expect(html).toContain("Best by benchmark: checkpoint-16, pass@1 65.6 %.");
    expect(html).toContain("<summary>Solved before, but not now: 1 in checkpoint-32</summary>");
    expect(html).toMatch(/Problem 0: how much.*?checkpoint-16 8\/8<\/td><td class="words">checkpoint-32 0\/8/);
    expect(html).toContain("<summary>Solved now, but not by base: 1 in checkpoint-16, 1 in checkpoint-32</summary>");
    for (const kind of ["Verdicts that differ: 2", "Solved by all: 1", "Solved by none: 1"]) {
      expect(html).toContain(`<summary>${kind} problem`);
    }
    expect(html).toContain(`<td class="cell-text lost" title="solved before">0/8</td>`);
    expect(html).toContain(`<td class="cell-text v0">error</td>`);
    expect(html.match(/<svg /g)).toHaveLength(2); // the curve, and the overview of problems
  });

  it("shows what came of programs, in words and as bars", () => {
    const outcomes: CodeOutcome[][] = [["passed"], ["timeout"], ["out_of_memory"], ["wrong_answer"]];
    const told: Told[] = [
      [1, 1],
      [0, 1],
      [0, 1],
      [0, 1],
    ];
    const html = page(["deep", told, { outcomes }], ["diverse", told, { outcomes, adapter: "b" }]);
    expect(html).toContain("Programs by outcome, passed %");
    expect(html).toContain(
      `<th scope="row">deep</th><td>1</td><td>1</td><td>0</td><td>0</td><td>1</td><td>1</td></tr>`,
    );
    expect(html).toContain(`<i class="o4" style="width:25.00%"></i>`);
    expect(html).toContain(`<td class="cell-text v0">timeout</td>`);
    expect(html).not.toContain("majority %");
  });

  it("escapes text from all sources", () => {
    const texts = [evil, "two"];
    const options = { dataset: evil, texts, ids: [evil, "b"], sources: [evil, "b"] };
    const lost: Told[] = [
      [0, 1],
      [1, 1],
    ];
    const html = page(
      [evil, [[1, 1], "error"], options],
      [`${evil}2`, lost, { ...options, adapter: `${evil}/checkpoint-1`, results: { temperature: 1 } }],
      [`${evil}3`, lost, { ...options, adapter: `${evil}/checkpoint-2` }],
    );
    expect(html).not.toContain("<img");
    expect(html).not.toContain("alert('");
    expect(html.match(/<script/g)).toHaveLength(1);
    expect(html.match(/&lt;img src=x/g)!.length).toBeGreaterThan(10);
  });

  it("loads nothing from outside, and forbids it", () => {
    const html = page(["a", [[1, 1]]], ["b", [[0, 1]]]);
    expect(html).not.toMatch(/https?:\/\/|\/\/[a-z]|@import|url\(|\bsrc=|<link|<iframe/i);
    expect(html).toMatch(/Content-Security-Policy" content="default-src 'none'; .*script-src 'sha256-[\w+/=]{44}'"/);
    expect(html).toContain("prefers-color-scheme:dark");
  });

  it("stays readable with many problems: bands of 200, and long tables folded", () => {
    const told = (of: (i: number) => number): Told[] => Array.from({ length: 1319 }, (_, i) => [of(i), 8]);
    const html = page(["a", told((i) => i % 9)], ["b", told((i) => (i + 3) % 9)], ["c", told((i) => i % 8)]);
    expect(html.match(/<div class="band">/g)).toHaveLength(7);
    expect(html.includes(`<details class="sheet"><summary>Verdicts that differ`)).toBe(true);
    expect(html.match(/<tr>/g)!.length).toBeGreaterThan(1319);
    expect(html.length).toBeLessThan(1_200_000);
  });
});
