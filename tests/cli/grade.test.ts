import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { main } from "../../src/cli/main.ts";

const ROWS = [
  { gold: "\\frac{1}{2}", pred: "so it is \\boxed{0.5}", expected: true },
  { gold: 12, pred: 12.0, expected: true },
  { gold: "3", pred: "4", expected: null },
  { gold: "7", pred: "7", expected: false },
  { gold: "x", pred: "The answer is y.", expected: true },
];

function file(rows: readonly unknown[]): string {
  const path = join(mkdtempSync(join(tmpdir(), "qwench-grade-")), "rows.jsonl");
  writeFileSync(path, rows.map((row) => JSON.stringify(row)).join("\n"));
  return path;
}

async function run(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const lines: Record<"log" | "error", string[]> = { log: [], error: [] };
  vi.spyOn(console, "log").mockImplementation((line) => void lines.log.push(String(line)));
  vi.spyOn(console, "error").mockImplementation((line) => void lines.error.push(String(line)));
  const code = await main(["grade", ...argv]);
  return { code, out: lines.log.join("\n"), err: lines.error.join("\n") };
}

afterEach(() => vi.restoreAllMocks());

describe("qwench grade", () => {
  it("prints the agreement and every disagreement", async () => {
    const { code, out } = await run(file(ROWS));
    expect(code).toBe(0);
    expect(out).toMatch(/4 +different +equal +7 +7 +whole/);
    expect(out).toMatch(/5 +equal +different +x +y +answer_is/);
    expect(out).toMatch(/5 rows, 3 equal, in [\d.]+ s/);
    expect(out).toContain(
      "Agreement 50.00 %: 2 of 4 rows with an expected grade; 1 wrongly equal (1 of plain numbers), 1 wrongly different",
    );
  });

  it("prints JSON", async () => {
    const { out } = await run(file(ROWS), "--json");
    expect(JSON.parse(out)).toMatchObject({
      rows: 5,
      equal: 3,
      compared: 4,
      agreed: 2,
      agreement: 0.5,
      false_positives_of_numbers: 1,
      disagreements: [
        { row: 4, expected: false, gold: "7", pred: "7", by: "whole" },
        { row: 5, expected: true, gold: "x", pred: "y", by: "answer_is" },
      ],
    });
  });

  it("takes the order of extraction, the precision and a tolerance", async () => {
    const rows = file([
      { gold: "2", pred: "\\boxed{1}, then 2.\nIt is so.", expected: true },
      { gold: "1/3", pred: "0.33", expected: true },
      { gold: "100", pred: "100.5", expected: true },
    ]);
    const agreed = async (...flags: string[]) =>
      JSON.parse((await run(rows, "--json", ...flags)).out.split("\n}\n").at(-1)!).agreed;
    expect(await agreed()).toBe(0);
    vi.restoreAllMocks();
    expect(await agreed("--order", "last_number,boxed", "--precision", "2", "--tolerance", "0.01")).toBe(3);
  });

  it.each([
    [[], 2, "Give one file of rows with gold and pred"],
    [["a", "b"], 2, "Give one file of rows"],
    [["a", "--order", "boxes"], 2, "--order may hold whole, answer_tag, boxed,"],
    [["a", "--precision", "-1"], 2, "--precision must be a number of at least 0, got -1"],
    [["/nowhere.jsonl"], 1, "NotFoundError: Cannot open /nowhere.jsonl"],
    [[file([{ gold: "1" }])], 1, '"pred" must be text or a number; it is missing'],
    [[file([{ gold: "1", pred: "1", expected: "yes" }])], 1, '"expected" must be true, false or null, not "yes"'],
  ])("%j ends with code %d", async (argv, expected, message) => {
    const { code, err } = await run(...argv);
    expect(code).toBe(expected);
    expect(err).toContain(message);
  });
});
