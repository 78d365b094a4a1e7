import { readRows } from "../../data/dataset.ts";
import { type NumberedRow, rowError } from "../../data/rows.ts";
import { nodeFile } from "../../platform/node/fs.ts";
import { EXTRACTION_STEPS, type ExtractionStep } from "../../rewards/maths/extract.ts";
import { type GradeOptions, grade } from "../../rewards/maths/grade.ts";
import { formatShare } from "../../text/numbers.ts";
import { show } from "../../text/show.ts";
import { renderTable } from "../../text/tables.ts";
import { formatSeconds } from "../../text/times.ts";
import { type CliFlag, type ParsedArgs, UsageError } from "../args.ts";

/** Flags for the tolerance of equality. */
export const EQUALITY_FLAGS: CliFlag[] = [
  {
    name: "precision",
    type: "string",
    value: "DIGITS",
    help: "A decimal with at least this many digits after the point also equals the number that it rounds (default 6).",
  },
  {
    name: "tolerance",
    type: "string",
    value: "SHARE",
    help: "Relative difference that an answer may have from the expected number, such as 1e-4.",
  },
];

export const GRADE_FLAGS: CliFlag[] = [
  { name: "json", type: "boolean", help: "Print JSON." },
  {
    name: "order",
    type: "string",
    value: "STEPS",
    help: `Where to look for a completion's answer, in this order; the first place with an answer counts: ${EXTRACTION_STEPS.join(", ")}.`,
  },
  ...EQUALITY_FLAGS,
];

/** A row whose grade differs from the expected grade. */
interface Disagreement {
  row: number;
  expected: boolean;
  gold: string;
  /** the answer that was found, or null */
  pred: string | null;
  by: string | null;
}

/** The result of grading a file. */
interface GradeReport {
  rows: number;
  /** number of rows graded equal */
  equal: number;
  /** number of rows with an expected grade */
  compared: number;
  agreed: number;
  /** share of `compared`, or null if that is 0 */
  agreement: number | null;
  /** number of rows with two plain numbers that were wrongly graded equal */
  false_positives_of_numbers: number;
  seconds: number;
  disagreements: Disagreement[];
}

/** `qwench grade`: grades every row of a file and reports grades that differ from the expected ones. @returns 0 */
export async function runGrade({ positional, flags }: ParsedArgs): Promise<number> {
  const [file, ...more] = positional;
  if (file === undefined || more.length > 0) throw new UsageError("Give one file of rows with gold and pred");
  const options = optionsOf(flags);
  const report = await gradeRows(readRows(await nodeFile(file)), options);
  if (flags.json) console.log(JSON.stringify(report, null, 2));
  else printReport(report);
  return 0;
}

/**
 * Grades rows of `{gold, pred, expected?}`.
 *
 * @throws {DataError} a row has no gold or pred, or its expected is not true, false or null
 */
export async function gradeRows(rows: AsyncIterable<NumberedRow>, options: GradeOptions): Promise<GradeReport> {
  const started = performance.now();
  const report: GradeReport = {
    rows: 0,
    equal: 0,
    compared: 0,
    agreed: 0,
    agreement: null,
    false_positives_of_numbers: 0,
    seconds: 0,
    disagreements: [],
  };
  for await (const source of rows) {
    const [gold, pred] = [textOf(source, "gold"), textOf(source, "pred")];
    const expected = source.row.expected ?? null;
    if (expected !== null && typeof expected !== "boolean") {
      throw rowError(source, `"expected" must be true, false or null, not ${show(expected)}`);
    }
    const found = grade(gold, pred, options);
    report.rows++;
    if (found.equal) report.equal++;
    if (expected === null) continue;
    report.compared++;
    if (found.equal === expected) {
      report.agreed++;
      continue;
    }
    if (found.equal && PLAIN_NUMBER.test(gold) && PLAIN_NUMBER.test(pred)) report.false_positives_of_numbers++;
    report.disagreements.push({ row: source.number, expected, gold: found.gold, pred: found.pred, by: found.by });
  }
  if (report.compared > 0) report.agreement = report.agreed / report.compared;
  report.seconds = (performance.now() - started) / 1000;
  return report;
}

const PLAIN_NUMBER = /^\s*\$?[+-]?\$?[\d.,\s]*\d[\d.,\s]*(?:[eE][+-]?\d+)?%?\$?\s*$/;

function textOf(source: NumberedRow, key: string): string {
  const value = source.row[key];
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  const found = value === undefined ? "is missing" : `is ${show(value)}`;
  throw rowError(source, `"${key}" must be text or a number; it ${found}`);
}

function optionsOf(flags: ParsedArgs["flags"]): GradeOptions {
  const number = (name: string, least: number): number | undefined => {
    if (flags[name] === undefined) return undefined;
    const value = Number(flags[name]);
    if (!(value >= least)) throw new UsageError(`--${name} must be a number of at least ${least}, got ${flags[name]}`);
    return value;
  };
  const order = typeof flags.order === "string" ? flags.order.split(/[\s,]+/).filter((step) => step !== "") : undefined;
  const odd = order?.find((step) => !EXTRACTION_STEPS.includes(step as ExtractionStep));
  if (odd !== undefined) throw new UsageError(`--order may hold ${EXTRACTION_STEPS.join(", ")}, got ${odd}`);
  return {
    order: order as ExtractionStep[] | undefined,
    precision: number("precision", 0),
    tolerance: number("tolerance", 0) ?? null,
  };
}

function printReport(report: GradeReport): void {
  const { rows, equal, compared, agreed, agreement, disagreements } = report;
  if (disagreements.length > 0) {
    const headings = ["expected", "graded", "gold", "answer", "found by"].map((heading) => ({ heading }));
    const columns = [{ heading: "row", align: "right" as const }, ...headings];
    const lines = disagreements.map(({ row, expected, gold, pred, by }) => [
      row,
      word(expected),
      word(!expected),
      gold,
      pred ?? "none",
      by ?? "",
    ]);
    console.log(renderTable(columns, lines, process.stdout.columns));
  }
  console.log(`${rows} rows, ${equal} equal, in ${formatSeconds(report.seconds)}`);
  if (agreement === null) console.log("No row has an expected grade.");
  else {
    const wrong = disagreements.filter(({ expected }) => !expected).length;
    console.log(
      `Agreement ${formatShare(agreement, 2)}: ${agreed} of ${compared} rows with an expected grade; ` +
        `${wrong} wrongly equal (${report.false_positives_of_numbers} of plain numbers), ${disagreements.length - wrong} wrongly different`,
    );
  }
}

const word = (equal: boolean) => (equal ? "equal" : "different");
