import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { main } from "../../src/cli/main.ts";
import { evaluationText, type FileOptions, type Told } from "../eval/compare/fixtures.ts";

const root = mkdtempSync(join(tmpdir(), "qwench-compare-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
afterEach(() => vi.restoreAllMocks());

const at = (...parts: string[]) => join(root, ...parts);
const save = (file: string, text: string) => {
  writeFileSync(at(file), text);
  return at(file);
};
const yes = [1, 1] as const;
const no = [0, 1] as const;
const evaluation = (name: string, told: readonly Told[], options: FileOptions = {}) =>
  save(`${name}.json`, evaluationText(name, told, options));
const checkpoint = (step: number, told: readonly Told[]) =>
  evaluation(`checkpoint-${step}`, told, { adapter: at("run", `checkpoint-${step}`) });

const base = evaluation("base", [yes, no, no, no]);
const first = checkpoint(16, [yes, yes, no, no]);
const best = checkpoint(32, [yes, yes, yes, no]);
const last = checkpoint(48, [no, yes, yes, no]);
for (const [step, eval_loss] of [
  [16, 1.5],
  [32, 1.25],
  [48, 1.3125],
]) {
  mkdirSync(at("run", `checkpoint-${step}`), { recursive: true });
  const log_history = [
    { step, loss: 1 },
    { step, eval_loss },
  ];
  writeFileSync(at("run", `checkpoint-${step}`, "trainer_state.json"), JSON.stringify({ log_history }));
}

async function run(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ["", ""];
  vi.spyOn(console, "log").mockImplementation((line) => void (out += `${line}\n`));
  vi.spyOn(console, "error").mockImplementation((line) => void (err += `${line}\n`));
  vi.spyOn(process.stdout, "write").mockImplementation((text) => (out += text) !== "");
  const code = await main(["compare", ...argv]);
  vi.restoreAllMocks();
  return { code, out, err };
}

describe("qwench compare", () => {
  it("prints scores, the planted regression and the planted best checkpoint", async () => {
    const { code, out } = await run(base, last, first, best);
    expect(code).toBe(0);
    expect(out).toMatch(/^gsm8k: 4 problems/);
    const rows = out.split("\n").filter((line) => /^(base|checkpoint-\d+) /.test(line));
    expect(rows.map((row) => row.split(/ {2,}/).slice(0, 4).join(" "))).toEqual([
      "base 1 25.0 25.0",
      "checkpoint-16 2 50.0 50.0",
      "checkpoint-32 3 75.0 75.0",
      "checkpoint-48 2 50.0 50.0",
    ]);
    expect(rows[2]).toMatch(/1\.25 +\+50\.0 \(0\.0 to \+100\.0\)/);
    expect(out).toContain("Verdicts that differ, 3 problems (0 solved by all, 1 by none)");
    expect(out).toMatch(
      /Regressions, solved before but not now: 1 in checkpoint-48\n.*\n.*\n +0 +checkpoint-32 +checkpoint-48 no +Problem 0: how much/,
    );
    expect(out).toContain("checkpoint-32: 2 problems (1, 2)");
    expect(out).toContain("Best by benchmark: checkpoint-32, pass@1 75.0 %.");
    expect(out).toContain("Best by validation loss: checkpoint-32, eval_loss 1.25.");
    expect(out).toContain("Benchmark and validation loss agree.");
  });

  it("prints the same JSON twice", async () => {
    const { out } = await run(base, first, "--json");
    expect((await run(base, first, "--json")).out).toBe(out);
    expect(JSON.parse(out)).toMatchObject({ seed: 0, resamples: 10_000, datasets: [{ base: "base", problems: 4 }] });
    expect((await run(base, first, "--json", "--seed", "1")).out).not.toBe(out);
  });

  it("writes a page and JSON into a folder, or only the named file, and never overwrites without a flag", async () => {
    const folder = at("made");
    expect(await run(base, first, "--output", folder)).toMatchObject({
      code: 0,
      err: expect.stringContaining("Wrote "),
    });
    expect(readFileSync(join(folder, "compare.html"), "utf8")).toMatch(/^<!doctype html>/);
    const { out } = await run(base, first, "--json");
    expect(readFileSync(join(folder, "compare.json"), "utf8")).toBe(out);
    const again = await run(base, best, "--output", folder);
    expect(again).toMatchObject({ code: 1, err: expect.stringContaining("it exists") });
    expect(readFileSync(join(folder, "compare.json"), "utf8")).toBe(out);
    expect(await run(base, best, "--output", folder, "--overwrite")).toMatchObject({ code: 0 });
    expect(readFileSync(join(folder, "compare.json"), "utf8")).not.toBe(out);
    expect(await run(base, best, "--output", at("one.html"))).toMatchObject({ code: 0 });
    expect([existsSync(at("one.html")), existsSync(at("one.json"))]).toEqual([true, false]);
  });

  it("never overwrites an evaluation", async () => {
    const before = readFileSync(base, "utf8");
    const { code, err } = await run(base, first, "--output", base, "--overwrite");
    expect(code).toBe(1);
    expect(err).toContain("it is one of the evaluations");
    expect(readFileSync(base, "utf8")).toBe(before);
  });

  it("reads eval_loss from a named run, and from metrics.jsonl", async () => {
    mkdirSync(at("elsewhere"));
    const lines = [
      { step: 16, eval_loss: 0.5 },
      { step: 32, eval_loss: 0.75 },
      { step: 32, loss: 2 },
    ];
    writeFileSync(at("elsewhere", "metrics.jsonl"), lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
    const { out } = await run(base, first, best, "--run", at("elsewhere"));
    expect(out).toContain("Best by validation loss: checkpoint-16, eval_loss 0.5.");
    expect(out).toContain("Benchmark and validation loss do not agree.");
    const unknown = await run(base, evaluation("a", [yes, no, no, no]), evaluation("b", [no, no, no, no]));
    expect(unknown.out).toContain("Best by validation loss: unknown");
    expect(unknown.out).toContain("Best by benchmark: a, pass@1 25.0 %, which is not above base (25.0 %).");
  });

  it("lets another model be the base", async () => {
    const { out } = await run(base, first, best, "--base", "checkpoint-16");
    expect(out).toContain("pass@1 over checkpoint-16 (95 %)");
    expect(out).toMatch(/^base .*−25\.0 \(/m);
  });

  it("removes control characters of files from terminal output", async () => {
    const texts = ["\u001b]0;title\u0007evil", "b", "c", "d"];
    const [a, b] = ["x\u001b[2J", "y\u001b[2J"].map((name, i) =>
      save(`safe-${i}.json`, evaluationText(name, [i ? yes : no, yes, yes, yes], { texts, dataset: "\u001b[31mred" })),
    );
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that there is none
    expect((await run(a, b)).out).not.toMatch(/[\u0000-\u0008\u000b-\u001f]/);
  });

  it.each([
    [[], 2, "Give at least two evaluations, got 0"],
    [[base], 2, "Give at least two evaluations, got 1"],
    [[base, `${root}/./base.json`], 2, "is given twice"],
    [[base, first, "--seed", "x"], 2, '--seed must be a whole number between 0 and 4294967295, got "x"'],
    [[base, at("none.json")], 1, "NotFoundError: "],
    [[base, save("broken.json", "{")], 1, "FormatError: Cannot compare "],
    [[base, save("list.json", "[]")], 1, "has results and records; this is a list"],
    [[base, evaluation("far", [yes], { texts: ["far"] })], 1, "no problem in common"],
    [[base, first, "--base", "nobody"], 1, "There is no model nobody for --base: there are base, checkpoint-16"],
    [[base, first, "--run", at("nowhere")], 1, "there is no such folder"],
    [[base, evaluation("plain", [yes, yes, yes, yes]), "--run", at("run")], 2, "--run is for checkpoints"],
  ])("%j ends with code %d", async (argv, expected, message) => {
    const { code, err } = await run(...argv);
    expect(err).toContain(message);
    expect(code).toBe(expected);
  });
});
