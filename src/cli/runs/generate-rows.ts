import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import type { PromptRow } from "../../data/prompts.ts";
import { type NumberedRow, rowError } from "../../data/rows.ts";
import { FormatError, QwenchError } from "../../errors.ts";
import type { SeenImages } from "../../model/vision/images.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import type { TextResponse } from "../../session/generate.ts";
import { compactJson, copySpelling } from "../../text/python-json.ts";

/** An input row and its prompt. */
export interface AskedRow {
  source: NumberedRow;
  prompt: PromptRow;
  /** its images, once the model has seen them */
  images?: SeenImages | null;
}

/** Columns added to a row. Lists hold one value per response. */
interface RowResult {
  responses: string[];
  finish_reasons: TextResponse["finish_reason"][];
  prompt_tokens: number;
  completion_tokens: number[];
  completion_ids?: number[][];
  logprobs?: number[][];
}

const COLUMNS: (keyof RowResult)[] = [
  "responses",
  "finish_reasons",
  "prompt_tokens",
  "completion_tokens",
  "completion_ids",
  "logprobs",
];

/** Rejects a row that already has one of the added columns. @throws {DataError} names the row's number */
export function checkColumns(source: NumberedRow): void {
  const taken = COLUMNS.find((name) => name in source.row);
  if (taken) throw rowError(source, `already has a column ${taken}, which the output would overwrite`);
}

/** The added columns of a row's responses. */
export function resultOf({ prompt }: AskedRow, made: readonly TextResponse[], logprobs: boolean): RowResult {
  const result: RowResult = {
    responses: made.map(({ text }) => text),
    finish_reasons: made.map(({ finish_reason }) => finish_reason),
    prompt_tokens: prompt.prompt_ids.length,
    completion_tokens: made.map(({ ids }) => ids.length),
  };
  if (!logprobs) return result;
  const rounded = (values: Float32Array) => Array.from(values, (value) => Number(value.toFixed(6)));
  return { ...result, completion_ids: made.map(({ ids }) => ids), logprobs: made.map(({ logps }) => rounded(logps)) };
}

/** The destination of finished rows. */
export interface RowsOutput {
  /** indices of rows that an earlier run finished */
  done: ReadonlyMap<number, RowResult>;
  add(index: number, result: RowResult): Promise<void>;
  /** called after the last row or an interruption; says where the rows are */
  end(complete: boolean): Promise<string | null>;
}

const line = (value: object) => `${compactJson(value)}\n`;

/** Prints rows in order, each as soon as all earlier rows are finished. */
export function printedRows(rows: readonly AskedRow[], write: (text: string) => void): RowsOutput {
  const done = new Map<number, RowResult>();
  const print = (index: number) => write(line({ ...rows[index].source.row, ...done.get(index) }));
  let next = 0;
  return {
    done: new Map(),
    async add(index, result) {
      done.set(index, result);
      for (; done.has(next); next++) print(next);
    },
    async end() {
      for (const index of [...done.keys()].sort((a, b) => a - b)) if (index >= next) print(index);
      return null;
    },
  };
}

/**
 * Writes rows atomically to a file at the end. Until then `FILE.partial` receives one line per finished row. After an
 * interruption, the same command continues from it.
 *
 * @param settings everything that responses depend on
 * @throws {QwenchError} the file exists, or its partial file has other settings
 */
export async function savedRows(
  file: string,
  rows: readonly AskedRow[],
  settings: Record<string, unknown>,
  overwrite: boolean,
): Promise<RowsOutput> {
  checkOutput(file, overwrite);
  const folder = nodeFolder(dirname(resolve(file)));
  const name = basename(file);
  const partial = `${name}.partial`;
  const prompts = createHash("sha256");
  for (const { prompt } of rows) prompts.update(line(prompt.prompt_ids));
  const head = line({ settings, rows: rows.length, prompts: prompts.digest("hex") });
  const done = new Map<number, RowResult>();
  if (await folder.exists(partial)) {
    const lines = (await folder.readText(partial)).split("\n");
    checkHead(`${file}.partial`, lines[0], head);
    lines.pop(); // text after the last newline is an interrupted line
    for (const [i, text] of lines.slice(1).entries()) {
      const { row, ...result } = parsed(`${file}.partial, line ${i + 2}`, text);
      done.set(row, result);
    }
    await folder.write(partial, lines.map((text) => `${text}\n`).join(""));
  } else await folder.write(partial, head);
  checkReplaced(file, overwrite, done.size === rows.length);
  const results = new Map(done);
  return {
    done,
    async add(index, result) {
      results.set(index, result);
      await folder.append(partial, line({ row: index, ...result }));
    },
    async end(complete) {
      if (!complete) {
        return `${results.size} of ${rows.length} rows are in ${file}.partial; the same command continues from there`;
      }
      await folder.write(
        name,
        rows.map(({ source }, i) => line(copySpelling(source.row, { ...source.row, ...results.get(i) }))).join(""),
      );
      await folder.remove(partial);
      return `${rows.length} rows: ${file}`;
    },
  };
}

/**
 * Checks the output file before a model is opened. If its `.partial` exists too, the file may belong to this run;
 * `checkReplaced` decides after reading the `.partial`.
 *
 * @throws {QwenchError} a file that exists and may not be replaced
 */
export function checkOutput(file: string, overwrite: boolean): void {
  if (!existsSync(`${file}.partial`)) checkReplaced(file, overwrite, false);
}

/**
 * @param complete whether the file's `.partial` holds every row: a run killed between writing the file and deleting the
 *   `.partial` leaves both, and the same content is written again
 * @throws {QwenchError} a file that exists and may not be replaced
 */
export function checkReplaced(file: string, overwrite: boolean, complete: boolean): void {
  if (existsSync(file) && !overwrite && !complete) {
    throw new QwenchError(
      `Cannot write ${file}: it exists. Replace it with --overwrite true, or name another --output`,
    );
  }
}

function parsed(where: string, text: string): RowResult & { row: number } {
  try {
    return JSON.parse(text);
  } catch {
    throw new FormatError(`Cannot continue from ${where}: it is not JSON. Remove the file to start again`);
  }
}

function checkHead(file: string, found: string, want: string): void {
  if (`${found}\n` === want) return;
  const before = parsed(`${file}, line 1`, found) as unknown as { settings?: Record<string, unknown> };
  const now: { settings: Record<string, unknown> } = JSON.parse(want);
  const text = (value: unknown) => JSON.stringify(value) ?? "absent";
  const name = Object.keys(now.settings).find((key) => text(before.settings?.[key]) !== text(now.settings[key]));
  const difference = name
    ? `${name} was ${text(before.settings?.[name])} and is ${text(now.settings[name])}`
    : "its prompts differ";
  throw new QwenchError(
    `Cannot continue from ${file}: ${difference}. Remove it to start again, or name another --output`,
  );
}
