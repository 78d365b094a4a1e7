import { FormatError } from "../../errors.ts";
import type { Folder } from "../../io/storage.ts";
import type { Completion, CompletionBatch } from "../../report/text.ts";
import { parseBoundedJson } from "../../text/bounded-json.ts";
import { compactJson } from "../../text/python-json.ts";

const completionsFolder = "completions";

/** A generation batch and its file. */
interface StoredBatch extends CompletionBatch {
  file: string;
}

const FILE = /^completions_(\d+)\.jsonl$/;

/**
 * Opens the folder `completions/` of a run. Each generation batch has a file such as `completions_00001.jsonl`, named after the
 * first step that learns from it. The columns are TRL's (step, prompt, completion, one per reward, advantage), finish_reason
 * and length, and for prompts with images their SHA-256.
 *
 * Deletes files of steps after `resumeStep`, because the run repeats those steps. A fresh run deletes all files.
 *
 * @param resumeStep the step of the checkpoint that the run resumes from; null for a fresh run
 */
export async function openCompletionsLog(output: Folder, resumeStep: number | null): Promise<CompletionsLog> {
  const folder = output.folder(completionsFolder);
  const steps = new Map<number, string>();
  for (const file of await folder.list()) {
    const step = Number(FILE.exec(file)?.[1] ?? Number.NaN);
    if (!Number.isInteger(step)) continue;
    if (step > (resumeStep ?? 0)) await folder.remove(file);
    else steps.set(step, file);
  }
  return new CompletionsLog(folder, steps);
}

/** The completions of a run, in its folder. */
export class CompletionsLog {
  readonly #folder: Folder;
  readonly #files: Map<number, string>;

  /** Use `openCompletionsLog` instead. */
  constructor(folder: Folder, files: Map<number, string>) {
    this.#folder = folder;
    this.#files = files;
  }

  /** Adds a generation batch. Batches of the same step share a file. Resolves when the file holds the batch. */
  async append(step: number, completions: readonly Completion[]): Promise<void> {
    const file = `completions_${String(step).padStart(5, "0")}.jsonl`;
    await this.#folder.append(file, completions.map(toLine).join(""));
    this.#files.set(step, file);
  }

  /** The first, middle and last batch, including those before a resume; fewer if there are fewer than three. */
  async samples(): Promise<StoredBatch[]> {
    const steps = [...this.#files.keys()].sort((a, b) => a - b);
    const chosen = new Set([steps[0], steps[(steps.length - 1) >> 1], steps.at(-1)]);
    const batches: StoredBatch[] = [];
    for (const step of chosen) {
      if (step === undefined) continue;
      const file = this.#files.get(step)!;
      const name = `${this.#folder.path}/${file}`;
      batches.push({ step, file, completions: readCompletions(await this.#folder.readText(file), name) });
    }
    return batches;
  }
}

/**
 * Reads the text of a file of completions.
 *
 * @param name name of the text in errors
 * @throws {FormatError} `Cannot read out/completions/completions_00001.jsonl:3 as a completion: …`
 */
export function readCompletions(text: string, name: string): Completion[] {
  const lines = text.split("\n");
  // after the last line feed there is nothing, or a line that a crash interrupted
  return lines.slice(0, -1).map((line, i) => {
    const where = `${name}:${i + 1} as a completion`;
    let row: Record<string, unknown>;
    try {
      row = parseBoundedJson(line) as typeof row;
    } catch (error) {
      throw new FormatError(`Cannot read ${where}: ${(error as Error).message}`);
    }
    const { step, prompt, completion, advantage, finish_reason, length, images, ...rewards } = row ?? {};
    if (typeof step !== "number" || typeof prompt !== "string" || typeof completion !== "string") {
      throw new FormatError(
        `Cannot read ${where}: it must have a number step, and a prompt and a completion that are text`,
      );
    }
    return {
      step,
      prompt,
      completion,
      rewards: rewards as Record<string, number | null>,
      advantage: Number(advantage),
      finish_reason: String(finish_reason),
      length: Number(length),
      ...(Array.isArray(images) && { images: images.map(String) }),
    };
  });
}

function toLine({ rewards, advantage, finish_reason, length, images, ...texts }: Completion): string {
  const { step, prompt, completion } = texts;
  const row = { step, prompt, completion, ...rewards, advantage, finish_reason, length };
  return `${compactJson({ ...row, ...(images && { images }) })}\n`;
}
