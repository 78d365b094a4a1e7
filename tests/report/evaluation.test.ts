import { describe, expect, it } from "vitest";
import { recordOf } from "../../src/eval/evaluate.ts";
import type { EvalRecord } from "../../src/eval/results.ts";
import { resultsOf } from "../../src/eval/summary.ts";
import { renderEvaluation } from "../../src/report/evaluation.ts";

const evil = `"><img src=x onerror=alert(1)><script>alert('&')</script>`;

function recordsOf(count: number, text: (response: number) => string, n = 4): EvalRecord[] {
  return Array.from({ length: count }, (_, id) => {
    const problem = {
      global_id: id,
      original_id: evil,
      source_dataset: id % 2 ? evil : "plain",
      problem: `${evil} ${id}`,
      ground_truth: evil,
      tests: null,
      prompt_ids: [1],
      difficulty: evil,
    };
    const correct_responses = Array.from({ length: n }, (_, i) => i < id % (n + 1));
    return recordOf(
      problem,
      {
        responses: correct_responses.map((_, i) => text(i)),
        completion_tokens: correct_responses.map(() => 7),
        finish_reasons: correct_responses.map(() => "length" as const),
      },
      { correct_responses, extracted_answers: correct_responses.map(() => evil) },
    );
  });
}

const html = (records: EvalRecord[], n = 4) =>
  renderEvaluation(
    resultsOf(
      records,
      {
        model_type: evil,
        dataset: evil,
        temperature: 1,
        n_sampling: n,
        max_tokens: 8,
        top_p: 1,
        top_k: 0,
        seed: 0,
        model_name_or_path: evil,
        adapter_name_or_path: evil,
        qwench_version: "0",
      },
      [1],
    ),
    records,
  );

describe("an evaluation's report", () => {
  it("escapes all text, loads nothing from outside, and forbids it", () => {
    const page = html(recordsOf(6, () => evil));
    expect(page).not.toContain("<img");
    expect(page).not.toContain("alert('");
    expect(page.match(/<script/g)).toHaveLength(1);
    expect(page).not.toMatch(/https?:\/\/|@import|url\(|\bsrc=["']|<link|<iframe/i);
    expect(page).toContain(`content="default-src 'none';`);
  });

  it("draws pass@k, and lists every problem by how often it was solved", () => {
    const page = html(recordsOf(10, (i) => `response ${i}`));
    expect(page.match(/<svg /g)).toHaveLength(2);
    const kinds = [...page.matchAll(/<details class="problem (\w+)">/g)].map(([, kind]) => kind);
    expect(kinds).toEqual(["none", "part", "part", "part", "all", "none", "part", "part", "part", "all"]);
    expect(page).toContain("always right <small>2</small>");
    expect(page).toContain("sometimes <small>6</small>");
    expect(page).toContain("never <small>2</small>");
    expect(page).toContain("7 tokens, cut off");
  });

  it("draws no curve of a single response", () => {
    expect(
      html(
        recordsOf(2, () => "x", 1),
        1,
      ),
    ).not.toContain("<svg");
  });

  it("cuts long responses in their middle, and stays within bounds", () => {
    const long = `begin${"x".repeat(50_000)}end`;
    const page = html(
      recordsOf(1, () => long, 9),
      9,
    );
    expect(page).toContain("<pre>beginx");
    expect(page).toContain("xend</pre>");
    expect(page).toContain("characters omitted");
    expect(page).toContain("8 of 9 responses are shown");
    expect(page.length).toBeLessThan(100_000);
    const many = html(recordsOf(900, () => long));
    expect(many.length).toBeLessThan(20_000_000);
    expect(many.match(/<details class="problem/g)).toHaveLength(900);
    expect(many).toContain("appear only in the list");
  });
});
