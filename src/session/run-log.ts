import { FormatError, QwenchError } from "../errors.ts";
import type { Folder } from "../io/storage.ts";
import type { LogRecord } from "../report/text.ts";
import { parseBoundedJson } from "../text/bounded-json.ts";
import { show } from "../text/show.ts";

export const metricsFile = "metrics.jsonl";

interface RunLogOptions {
  /** the step of the checkpoint that the run resumes from; null for a fresh run */
  resumeStep: number | null;
  /** whether a fresh run may replace the log of an earlier one */
  overwrite?: boolean;
  /** when this process began to train, in milliseconds since 1970; default: now */
  began?: number;
  /** clock in milliseconds since 1970 */
  now?: () => number;
}

/** A log with its clock; null in files of older versions. */
interface TimedLog {
  record: LogRecord;
  /** when it was taken, ISO 8601 in UTC */
  time: string | null;
  /** seconds of training up to it, over all processes of the run; breaks between them do not count */
  elapsed: number | null;
}

/**
 * Opens `metrics.jsonl` in a run's folder, with one line per log: `step`, numbers by TRL's names, `time` and `elapsed`.
 *
 * On resume, an atomic rewrite drops lines after the resumed step, because the run repeats those steps. The file therefore
 * never holds a step twice. An interrupted last line is dropped as well. `elapsed` continues from the last line that is kept.
 *
 * @throws {QwenchError} if a fresh run finds another run's log and may not replace it
 * @throws {FormatError} if a line before the last is not a log; the message names file and line
 */
export async function openRunLog(folder: Folder, options: RunLogOptions): Promise<RunLog> {
  const { resumeStep, overwrite = false, now = Date.now, began = now() } = options;
  const logs: TimedLog[] = [];
  if (await folder.exists(metricsFile)) {
    const text = await folder.readText(metricsFile);
    if (resumeStep !== null) {
      const earlier = readTimedMetrics(text, `${folder.path}/${metricsFile}`);
      logs.push(...earlier.filter(({ record }) => record.step <= resumeStep));
      const kept = logs.map(toLine).join("");
      if (kept !== text) await folder.write(metricsFile, kept);
    } else if (text !== "" && !overwrite) {
      throw new QwenchError(
        `Cannot start a run in ${folder.path}: it holds the ${metricsFile} of another run. Continue that run with ` +
          "--resume_from_checkpoint true, replace it with --overwrite_output_dir true, or name another --output_dir",
      );
    } else {
      await folder.write(metricsFile, "");
    }
  }
  const before = logs.reduce((most, { elapsed }) => Math.max(most, elapsed ?? 0), 0);
  return new RunLog(folder, logs, { now, began: began - 1000 * before });
}

/** The logs of a run, in memory and in its folder. */
export class RunLog {
  readonly #folder: Folder;
  readonly #records: LogRecord[];
  /** `began`: when the run would have begun if it had never been interrupted */
  readonly #clock: { now: () => number; began: number };

  /** Use `openRunLog` instead. */
  constructor(folder: Folder, logs: readonly TimedLog[], clock: { now: () => number; began: number }) {
    this.#folder = folder;
    this.#records = logs.map(({ record }) => record);
    this.#clock = clock;
  }

  /** All logs in order, including those before a resume, without their clock. */
  get records(): readonly LogRecord[] {
    return this.#records;
  }

  /** Adds a log. Resolves when the file holds it. */
  async append(record: LogRecord): Promise<void> {
    this.#records.push(record);
    const now = this.#clock.now();
    const elapsed = Math.max(0, Math.round(now - this.#clock.began) / 1000);
    await this.#folder.append(metricsFile, toLine({ record, time: new Date(now).toISOString(), elapsed }));
  }
}

/** Reads the text of a metrics.jsonl, without the clock. Parameters and errors as `readTimedMetrics`. */
export function readMetrics(text: string, name: string): LogRecord[] {
  return readTimedMetrics(text, name).map(({ record }) => record);
}

/**
 * Reads the text of a metrics.jsonl.
 *
 * @param name name of the text in errors
 * @throws {FormatError} `Cannot read out/metrics.jsonl:3 as a log: …`
 */
export function readTimedMetrics(text: string, name: string): TimedLog[] {
  const logs: TimedLog[] = [];
  const lines = text.split("\n");
  // after the last line feed there is nothing, or a line that a crash interrupted
  for (const [i, line] of lines.slice(0, -1).entries()) {
    if (line.trim() === "") continue;
    let read: unknown;
    try {
      read = parseBoundedJson(line);
    } catch (error) {
      throw new FormatError(`Cannot read ${name}:${i + 1} as a log: ${(error as Error).message}`);
    }
    const step = (read as LogRecord | null)?.step;
    if (typeof step !== "number" || !Number.isSafeInteger(step) || step < 0) {
      throw new FormatError(
        `Cannot read ${name}:${i + 1} as a log: step must be an integer of at least 0, got ${show(step)}`,
      );
    }
    const { time, elapsed, ...record } = read as LogRecord;
    logs.push({
      record: record as LogRecord,
      time: typeof time === "string" && Number.isFinite(Date.parse(time)) ? time : null,
      elapsed: typeof elapsed === "number" && elapsed >= 0 ? elapsed : null,
    });
  }
  return logs;
}

/** `step` first, the clock last. NaN and infinities become null, because JSON cannot represent them. */
function toLine({ record: { step, ...rest }, time, elapsed }: TimedLog): string {
  const clock = { ...(time !== null && { time }), ...(elapsed !== null && { elapsed }) };
  return `${JSON.stringify({ step, ...rest, ...clock })}\n`;
}
