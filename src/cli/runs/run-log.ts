import { FormatError, QwenchError } from "../../errors.ts";
import type { Folder } from "../../io/storage.ts";
import type { LogRecord } from "../../report/text.ts";
import { parseBoundedJson } from "../../text/bounded-json.ts";
import { show } from "../../text/show.ts";

export const metricsFile = "metrics.jsonl";

interface RunLogOptions {
  /** the step of the checkpoint that the run resumes from; null for a fresh run */
  resumeStep: number | null;
  /** whether a fresh run may replace the log of an earlier one */
  overwrite?: boolean;
}

/**
 * Opens `metrics.jsonl` in a run's folder, with one line per log.
 *
 * On resume, an atomic rewrite drops lines after the resumed step, because the run repeats those steps. The file therefore
 * never holds a step twice. An interrupted last line is dropped as well.
 *
 * @throws {QwenchError} if a fresh run finds another run's log and may not replace it
 * @throws {FormatError} if a line before the last is not a log; the message names file and line
 */
export async function openRunLog(folder: Folder, { resumeStep, overwrite = false }: RunLogOptions): Promise<RunLog> {
  const records: LogRecord[] = [];
  if (await folder.exists(metricsFile)) {
    const text = await folder.readText(metricsFile);
    if (resumeStep !== null) {
      records.push(...readMetrics(text, `${folder.path}/${metricsFile}`).filter(({ step }) => step <= resumeStep));
      const kept = records.map(toLine).join("");
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
  return new RunLog(folder, records);
}

/** The logs of a run, in memory and in its folder. */
export class RunLog {
  readonly #folder: Folder;
  readonly #records: LogRecord[];

  /** Use `openRunLog` instead. */
  constructor(folder: Folder, records: LogRecord[]) {
    this.#folder = folder;
    this.#records = records;
  }

  /** All logs in order, including those before a resume. */
  get records(): readonly LogRecord[] {
    return this.#records;
  }

  /** Adds a log. Resolves when the file holds it. */
  async append(record: LogRecord): Promise<void> {
    this.#records.push(record);
    await this.#folder.append(metricsFile, toLine(record));
  }
}

/**
 * Reads the text of a metrics.jsonl.
 *
 * @param name name of the text in errors
 * @throws {FormatError} `Cannot read out/metrics.jsonl:3 as a log: …`
 */
export function readMetrics(text: string, name: string): LogRecord[] {
  const records: LogRecord[] = [];
  const lines = text.split("\n");
  // after the last line feed there is nothing, or a line that a crash interrupted
  for (const [i, line] of lines.slice(0, -1).entries()) {
    if (line.trim() === "") continue;
    let record: unknown;
    try {
      record = parseBoundedJson(line) as typeof record;
    } catch (error) {
      throw new FormatError(`Cannot read ${name}:${i + 1} as a log: ${(error as Error).message}`);
    }
    const step = (record as LogRecord | null)?.step;
    if (typeof step !== "number" || !Number.isSafeInteger(step) || step < 0) {
      throw new FormatError(
        `Cannot read ${name}:${i + 1} as a log: step must be an integer of at least 0, got ${show(step)}`,
      );
    }
    records.push(record as LogRecord);
  }
  return records;
}

/** `step` first, then the other names in order. NaN and infinities become null, because JSON cannot represent them. */
function toLine({ step, ...rest }: LogRecord): string {
  return `${JSON.stringify({ step, ...rest })}\n`;
}
