import { withColumns } from "../../data/columns.ts";
import { type Method, methods } from "../../recipe/recipe.ts";
import { type RowPart, type SeenRow, type SeenRows, seeRows } from "../../session/data/view.ts";
import { bins, quantile } from "../../text/bins.ts";
import { counted, formatNumber } from "../../text/numbers.ts";
import { flat } from "../../text/show.ts";
import { type ParsedArgs, UsageError } from "../args.ts";
import { textOf } from "../flags/text-flags.ts";
import { hubOptions } from "../sources/hub.ts";
import { openRows } from "../sources/sources.ts";
import { modelRequest } from "../sources/text-model.ts";
import { tokenizerOf } from "../sources/tokenizer.ts";
import { interruptible } from "../terminal/interrupt.ts";

/** SFTConfig's max_length. */
const MAX_LENGTH = 1024;
const SHOWN = 3;
/** Rows and milliseconds for counting lengths. */
const MOST_ROWS = 100_000;
const MOST_MS = 20_000;
/** Widths of the histogram, in characters. */
const BARS = 10;
const BAR = 40;

/** `qwench data show FILE`: what the rows are and how a run would see them. @returns the exit code */
export async function showData({ positional, flags }: ParsedArgs): Promise<number> {
  const [, name, ...more] = positional;
  if (name === undefined || more.length > 0) throw new UsageError("qwench data show needs one file, folder or hub id");
  const method = (textOf(flags, "method") ?? "sft") as Method;
  if (!methods.includes(method)) throw new UsageError(`--method must be one of ${methods.join(", ")}, got ${method}`);
  const shown = whole(textOf(flags, "rows"), "rows", SHOWN);
  const max_length = whole(textOf(flags, "max_length"), "max_length", MAX_LENGTH);
  const model = modelRequest(flags);
  return interruptible(async (signal) => {
    const { tokenizer } = await tokenizerOf(model, signal);
    const hub = hubOptions(signal, () => {});
    const rows = withColumns(await openRows(name, { config: null, split: "train" }, hub), textOf(flags, "columns"));
    const limit = method === "grpo" ? null : max_length;
    const options = { method, tokenizer, max_length: limit, shown, most: MOST_ROWS, time: MOST_MS, signal };
    const seen = await seeRows(rows, options);
    for (const line of linesOf(name, seen, { max_length: limit, model: model.model ?? "the embedded model" })) {
      console.log(line);
    }
    return seen.problem === null ? 0 : 1;
  });
}

/** The report, line by line. */
function linesOf(name: string, seen: SeenRows, about: { max_length: number | null; model: string }): string[] {
  const { form, columns, unused, problem, counted: count, all, rows } = seen;
  const total = `${all ? "" : "the first "}${counted(count, "row")}`;
  const lines = [`${name}: ${total}${form ? `, ${form}` : ""}`];
  if (problem !== null)
    lines.push(`not known: ${problem}`, "Name the columns, such as --columns prompt=q,completion=a");
  const mapped = Object.entries(columns ?? {}).filter(([ours, own]) => ours !== own);
  if (mapped.length > 0) {
    const text = mapped.map(([ours, own]) => `${ours}=${own}`).join(",");
    lines.push(`columns that look like it: --columns ${text}`);
  }
  if (unused.length > 0) lines.push(`columns that training does not use: ${unused.map(flat).join(", ")}`);
  lines.push(...lengthLines(seen, about), ...rows.flatMap(rowLines));
  return lines;
}

function lengthLines(
  { lengths, cut, empty, bad }: SeenRows,
  about: { max_length: number | null; model: string },
): string[] {
  const lines: string[] = [];
  if (lengths.length > 0) {
    const at = (share: number) => formatNumber(quantile(lengths, share));
    lines.push(`tokens of ${about.model}: median ${at(0.5)}, 95 % ${at(0.95)}, longest ${at(1)}`);
    const bars = bins(lengths, BARS);
    const most = Math.max(...bars.map(({ count }) => count));
    const label = ({ from, to }: { from: number; to: number }) => `${formatNumber(from)}–${formatNumber(to - 1)}`;
    const width = Math.max(...bars.map((bar) => label(bar).length));
    for (const bar of bars) {
      const drawn = "█".repeat(bar.count === 0 ? 0 : Math.max(1, Math.round((BAR * bar.count) / most)));
      lines.push(`  ${label(bar).padStart(width)} ${drawn} ${formatNumber(bar.count)}`);
    }
  }
  if (cut > 0) lines.push(`${counted(cut, "row")} longer than max_length ${formatNumber(about.max_length)}: cut`);
  if (empty > 0) lines.push(`${counted(empty, "row")} with nothing to learn`);
  if (bad > 0) lines.push(`${counted(bad, "row")} that a run would refuse`);
  return lines;
}

const HEADINGS: Record<RowPart["kind"], string> = {
  prompt: "read",
  target: "learnt",
  rejected: "worse answer",
  cut: "cut off",
};

function rowLines({ number, parts, tokens, problem }: SeenRow): string[] {
  if (problem !== null) return ["", `row ${number}: ${problem}`];
  const text = parts.flatMap(({ kind, text }) => [
    `--- ${HEADINGS[kind]}`,
    ...text
      .replace(/\n$/, "")
      .split("\n")
      .map((line) => `  ${flat(line)}`),
  ]);
  return ["", `row ${number}: ${counted(tokens, "token")}`, ...text];
}

function whole(text: string | null, name: string, otherwise: number): number {
  if (text === null) return otherwise;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new UsageError(`--${name} must be a whole number above 0, got ${text}`);
  return value;
}
