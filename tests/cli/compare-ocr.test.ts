import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it, vi } from "vitest";
import { main } from "../../src/cli/main.ts";
import { compareOcr, readOcrEvaluation } from "../../src/eval/compare/ocr.ts";
import { characterErrors, ocrScores, rate, wordErrors } from "../../src/eval/ocr.ts";

const root = mkdtempSync(join(tmpdir(), "qwench-compare-ocr-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const TRUTHS = ["No. 4711", "12 May 2026", "</pre><script>alert(1)</script>", "Total: 9.50 EUR"];

/** A results.json of `qwench eval ocr`. */
function textOf(model: string, read: readonly string[], more: object = {}): string {
  const records = read.map((generated_text, i) => ({
    sample: i + 1,
    wer: rate(wordErrors(TRUTHS[i], generated_text)),
    cer: rate(characterErrors(TRUTHS[i], generated_text)),
    ground_truth: TRUTHS[i],
    generated_text,
    question: "Read.",
    finish_reason: "stop",
  }));
  const options = { ignore_case: false, ignore_punctuation: false };
  const results = { model_type: model, dataset: "lines.jsonl", ...ocrScores(records), ...options, ...more };
  return JSON.stringify({ results, records });
}

function save(name: string, text: string): string {
  writeFileSync(join(root, name), text);
  return join(root, name);
}

async function run(...argv: string[]): Promise<{ code: number; out: string; said: string }> {
  let [out, said] = ["", ""];
  const spies = [
    vi.spyOn(console, "log").mockImplementation((line) => void (out += `${line}\n`)),
    vi.spyOn(console, "error").mockImplementation((line) => void (said += `${line}\n`)),
    vi.spyOn(process.stdout, "write").mockImplementation((text) => (out += text) !== ""),
  ];
  try {
    return { code: await main(["compare", ...argv]), out, said };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

const adapter = (step: number) => ({ adapter_name_or_path: `out/checkpoint-${step}` });
const base = save("base.json", textOf("base", ["No. 4111", "12 May 2026", "nothing", "Total"]));
const early = save("early.json", textOf("checkpoint-8", ["No. 4711", "12 Mai 2026", TRUTHS[2], "Total"], adapter(8)));
const late = save("late.json", textOf("checkpoint-16", ["No. 4711", "12 May 2026", TRUTHS[2]], adapter(16)));

it("compares models and checkpoints on the samples that all have read", async () => {
  const { code, out } = await run(base, late, early);
  expect(code).toBe(0);
  expect(out).toContain("base.json: 1 of its 4 samples are left out");
  expect(out).toContain("lines.jsonl: 3 samples");
  const rows = out.split("\n").filter((line) => /^(base|checkpoint-\d+) /.test(line));
  expect(rows.map((row) => row.split(/ +/)[0])).toEqual(["base", "checkpoint-8", "checkpoint-16"]);
  expect(rows[2]).toMatch(/^checkpoint-16 +0\.0 +0\.0 +0\.0 +0\.0 +100\.0 +\+/);
  expect(out).toContain("Read worse than by base: 1 sample");
  expect(out).toContain("12 Mai 2026");
  expect(out).toContain("Best: checkpoint-16, CER 0.0 %.");
});

it("says how far each model is below the base, with paired intervals", () => {
  const read = [base, early].map((file) => readOcrEvaluation(readFileSync(file, "utf8"), file));
  const compared = compareOcr(read, { seed: 3, resamples: 200 });
  const [first, second] = compared.models;
  const { cer } = second.improvement!;
  expect(cer.mean).toBeCloseTo(100 * (first.avg_cer - second.avg_cer), 10);
  expect(cer.low).toBeLessThanOrEqual(cer.mean);
  expect(cer.high).toBeGreaterThanOrEqual(cer.mean);
  expect(compareOcr(read, { seed: 3, resamples: 200 })).toEqual(compared);
  expect(compared.better.map(({ sample }) => sample)).toEqual([3, 1]);
  expect(compared.worse).toMatchObject([{ sample: 2, model: "checkpoint-8", now: { text: "12 Mai 2026" } }]);
});

it("writes a page that runs no text of an image, and JSON", async () => {
  const { code } = await run(base, early, "--output", join(root, "made"));
  expect(code).toBe(0);
  const page = readFileSync(join(root, "made", "compare.html"), "utf8");
  expect(page).toContain("&lt;/pre&gt;&lt;script&gt;");
  expect(page.match(/<script>/g)).toHaveLength(1);
  expect(JSON.parse(readFileSync(join(root, "made", "compare.json"), "utf8"))).toMatchObject({
    kind: "ocr",
    samples: 4,
  });
});

it("refuses what cannot be compared", async () => {
  const other = save("case.json", textOf("base", TRUTHS, { ignore_case: true }));
  expect((await run(base, other)).said).toContain("ignore_case and ignore_punctuation differ");
  const maths = save("maths.json", '{"results":{"model_type":"a","dataset":"b"},"records":{"1":{}}}');
  expect(await run(base, maths)).toMatchObject({ code: 2, said: expect.stringContaining("is an OCR evaluation, and") });
  expect((await run(base, early, "--base", "who")).said).toContain("There is no model who for --base");
  expect((await run(base, save("none.json", '{"results":{"avg_cer":1},"records":[]}'))).said).toContain(
    "records must be a list with at least one sample",
  );
});
