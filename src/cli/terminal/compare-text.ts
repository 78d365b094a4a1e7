import type { Comparison, DatasetComparison } from "../../eval/compare/compare.ts";
import { type ModelRow, OUTCOMES } from "../../eval/compare/row.ts";
import {
  bestSentences,
  bySolvers,
  changesByProblem,
  countsByModel,
  hasSingles,
  interval,
  ksOf,
  namedVerdict,
  shortNames,
  stabilitySentence,
  verdict,
} from "../../report/compare-text.ts";
import { counted, formatFixed, formatNumber } from "../../text/numbers.ts";
import { type Column, renderTable } from "../../text/tables.ts";
import { plainText } from "./plain-text.ts";

/** Most rows of a list in the terminal. */
const MOST = 40;
const MOST_IDS = 20;

/** A comparison as text for the terminal. @param width columns of the terminal */
export function comparisonText({ notes, datasets }: Comparison, width?: number): string {
  const noted = notes.map((note) => `note: ${note}\n`).join("");
  const parts = [noted, ...datasets.map((compared) => datasetText(compared, width))];
  return plainText(parts.filter((part) => part !== "").join("\n"));
}

function datasetText(compared: DatasetComparison, width?: number): string {
  const { dataset, problems, stability } = compared;
  return [
    `${dataset}: ${counted(problems, "problem")}\n`,
    modelTable(compared, width),
    partTables(compared, width),
    outcomeTable(compared, width),
    gridTable(compared, width),
    regressionTable(compared, width),
    gainLines(compared),
    [...stability.map(stabilitySentence), ...bestSentences(compared)].map((sentence) => `${sentence}\n`).join(""),
  ]
    .filter((part) => part !== "")
    .join("\n");
}

const left = (heading: string): Column => ({ heading });
const right = (heading: string): Column => ({ heading, align: "right" });

function modelTable(compared: DatasetComparison, width?: number): string {
  const { models, base } = compared;
  const ks = ksOf(compared);
  const single = hasSingles(compared);
  const voted = models.some(({ majority_accuracy }) => majority_accuracy !== null);
  const counts = models.some(({ avg_completion_tokens }) => avg_completion_tokens !== null);
  const measured = models.some(({ eval_loss }) => eval_loss !== null);
  const columns = [
    left("model"),
    right("solved"),
    ...(single ? [] : [right("any %")]),
    ...ks.map((k) => right(`pass@${k} %`)),
    ...(voted ? [right("majority %")] : []),
    ...(counts ? [right("tokens")] : []),
    ...(measured ? [right("eval_loss")] : []),
    right(`pass@1 over ${base} (95 %)`),
    ...(single ? [] : [right("any (95 %)")]),
  ];
  const rows = models.map((row) => [
    row.name,
    row.solved,
    ...(single ? [] : [formatFixed(row.accuracy)]),
    ...ks.map((k) => formatFixed(row.pass_at[k])),
    ...(voted ? [formatFixed(row.majority_accuracy)] : []),
    ...(counts ? [formatFixed(row.avg_completion_tokens)] : []),
    ...(measured ? [formatNumber(row.eval_loss)] : []),
    row.improvement === null ? "" : interval(row.improvement.pass_at_1),
    ...(single ? [] : [row.improvement === null ? "" : interval(row.improvement.accuracy)]),
  ]);
  return renderTable(columns, rows, width);
}

function partTables({ models }: DatasetComparison, width?: number): string {
  const table = (heading: string, of: (row: ModelRow) => Record<string, number>) => {
    const parts = Object.keys(of(models[0]));
    if (parts.length < 2) return [];
    const rows = models.map((row) => [row.name, ...parts.map((part) => formatFixed(of(row)[part]))]);
    return [renderTable([left(heading), ...parts.map(right)], rows, width)];
  };
  return [
    ...table("any % by source", (row) => row.source_accuracies),
    ...table("pass@1 % by difficulty", (row) => row.difficulty_accuracies),
  ].join("\n");
}

function outcomeTable({ models }: DatasetComparison, width?: number): string {
  if (models.every(({ outcomes }) => outcomes === null)) return "";
  const columns = [left("programs"), ...OUTCOMES.map((outcome) => right(outcome.replaceAll("_", " ")))];
  const rows = models.map(({ name, outcomes }) => [name, ...OUTCOMES.map((outcome) => outcomes?.[outcome] ?? "—")]);
  return renderTable(columns, rows, width);
}

function gridTable({ models, grid }: DatasetComparison, width?: number): string {
  const { some, all, none } = bySolvers(grid);
  const rest = `${all.length} solved by all, ${none.length} by none`;
  if (some.length === 0) return `No verdict differs: ${rest}.\n`;
  const columns = [right("problem"), ...shortNames(models).map(right), left("")];
  const rows = some.slice(0, MOST).map(({ id, verdicts, problem }) => [id, ...verdicts.map(verdict), problem]);
  return `Verdicts that differ, ${counted(some.length, "problem")} (${rest})\n${renderTable(columns, rows, width)}${cut(some.length)}`;
}

function regressionTable({ regressions, models }: DatasetComparison, width?: number): string {
  const heading = `Regressions, solved before but not now: ${countsByModel(regressions, models)}\n`;
  const problems = changesByProblem(regressions);
  if (problems.length === 0) return heading;
  const columns = [right("problem"), left("before"), left("lost by"), left("")];
  const rows = problems
    .slice(0, MOST)
    .map(({ id, problem, before, models: lost }) => [
      id,
      namedVerdict(before.model, before),
      lost.map(({ name, now }) => namedVerdict(name, now)).join(", "),
      problem,
    ]);
  return `${heading}${renderTable(columns, rows, width)}${cut(problems.length)}`;
}

function gainLines({ gains, models, base }: DatasetComparison): string {
  const lines = models.slice(1).map(({ name }) => {
    const ids = gains.filter(({ model }) => model === name).map(({ id }) => id);
    const few = `${ids.slice(0, MOST_IDS).join(", ")}${ids.length > MOST_IDS ? ", …" : ""}`;
    return `  ${name}: ${ids.length === 0 ? "none" : `${counted(ids.length, "problem")} (${few})`}\n`;
  });
  return `Gains, solved now but not by ${base}\n${lines.join("")}`;
}

const cut = (count: number) =>
  count > MOST ? `… and ${count - MOST} more: --json and --output have all of them\n` : "";
