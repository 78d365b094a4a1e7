import { createHash } from "node:crypto";
import { basename, dirname, resolve } from "node:path";
import { FormatError, QwenchError } from "../../errors.ts";
import type { EvalProblem, Verdicts, Written } from "../../eval/evaluate.ts";
import type { Folder } from "../../io/storage.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import { parseBoundedJson } from "../../text/bounded-json.ts";
import { compactJson } from "../../text/python-json.ts";
import { show } from "../../text/show.ts";

/** Everything that an evaluation depends on. */
export interface EvalIdentity {
  /** settings that responses depend on, without the problems */
  generation: Record<string, unknown>;
  /** settings that grades depend on, without the problems */
  grading: Record<string, unknown>;
  problems: readonly EvalProblem[];
  n: number;
}

/** An evaluation's results so far, in a file that survives interruptions. */
export interface PartialEval {
  /** by global_id */
  written: Map<number, Written>;
  verdicts: Map<number, Verdicts>;
  addWritten(id: number, written: Written): Promise<void>;
  addVerdicts(id: number, verdicts: Verdicts): Promise<void>;
  remove(): Promise<void>;
}

interface Head {
  generation: Record<string, unknown>;
  grading: Record<string, unknown>;
  problems: number;
  prompts: string;
}

const line = (value: unknown) => `${compactJson(value)}\n`;

/**
 * Opens `FILE.partial`, which receives one line for each problem's responses and one for their grades. Reuses the lines of an
 * earlier run with equal settings. If only the grading differs, it reuses the responses but not the grades.
 *
 * @throws {QwenchError} the file has other settings (the message names the first difference), or is damaged before its end
 */
export async function openPartial(output: string, identity: EvalIdentity): Promise<PartialEval> {
  const folder = nodeFolder(dirname(resolve(output)));
  const name = `${basename(output)}.partial`;
  const { generation, grading, problems, n } = identity;
  const hash = createHash("sha256");
  for (const { global_id, prompt_ids, ground_truth, tests } of problems) {
    hash.update(line([global_id, prompt_ids, ground_truth, tests]));
  }
  const head: Head = { generation, grading, problems: problems.length, prompts: hash.digest("hex") };
  const written = new Map<number, Written>();
  const verdicts = new Map<number, Verdicts>();
  if (await folder.exists(name)) {
    const lines = (await folder.readText(name)).split("\n");
    lines.pop(); // text after the last newline is an interrupted line
    const file = `${output}.partial`;
    const sameGrading = checkHead(file, lines[0] ?? "", head);
    const wanted = new Set(problems.map(({ global_id }) => global_id));
    for (const [i, text] of lines.slice(1).entries()) {
      const where = `${file}, line ${i + 2}`;
      const { global_id: id, ...kept } = parsed(where, text) as Entry;
      if (!wanted.has(id) || (kept.responses ?? kept.correct_responses)?.length !== n) throw spoilt(where);
      if (kept.responses) written.set(id, kept as Written);
      else if (sameGrading) verdicts.set(id, kept as Verdicts);
    }
    const whole = [head, ...entries(written), ...entries(verdicts)].map(line).join("");
    await folder.write(name, whole);
  } else await folder.write(name, line(head));
  let queue = Promise.resolve();
  const append = (entry: object) => {
    queue = queue.then(() => folder.append(name, line(entry))); // one write after the other, so that lines stay whole
    return queue;
  };
  return {
    written,
    verdicts,
    addWritten(id, made) {
      written.set(id, made);
      return append({ global_id: id, ...made });
    },
    addVerdicts(id, found) {
      verdicts.set(id, found);
      return append({ global_id: id, ...found });
    },
    remove: () => folder.remove(name),
  };
}

type Entry = { global_id: number } & Partial<Written & Verdicts>;

function entries(kept: ReadonlyMap<number, object>): object[] {
  return [...kept].map(([global_id, value]) => ({ global_id, ...value }));
}

function spoilt(where: string): FormatError {
  return new FormatError(
    `Cannot continue from ${where}: it is not a line of an evaluation. Remove the file to start again`,
  );
}

function parsed(where: string, text: string): unknown {
  try {
    const value: unknown = parseBoundedJson(text);
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // told below
  }
  throw spoilt(where);
}

/** @returns whether the grading settings are equal */
function checkHead(file: string, text: string, now: Head): boolean {
  if (`${text}\n` === line(now)) return true;
  const before = parsed(`${file}, line 1`, text) as Partial<Head>;
  const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);
  const name = Object.keys(now.generation).find((key) => !same(before.generation?.[key], now.generation[key]));
  const alike = before.problems === now.problems && before.prompts === now.prompts;
  if (!name && alike) return same(before.grading, now.grading);
  const difference = name
    ? `${name} was ${show(before.generation?.[name])} and is ${show(now.generation[name])}`
    : `its ${before.problems} problems differ from these ${now.problems}`;
  throw new QwenchError(
    `Cannot continue from ${file}: ${difference}. Remove it to start again, or name another --output`,
  );
}

/** Files up to this size in bytes are hashed completely. */
const WHOLE_BYTES = 64 << 20;
const SAMPLE_BYTES = 1 << 20;

/**
 * A fingerprint that detects changes to a model's or adapter's files: sizes, configuration, and the weights' contents, of which
 * large files contribute 64 pieces of 1 MiB.
 */
export async function fingerprint(folder: Folder): Promise<string> {
  const hash = createHash("sha256");
  for (const name of await folder.list()) {
    if (!/\.safetensors$|^(adapter_)?config\.json$/.test(name)) continue;
    const source = await folder.open(name);
    hash.update(line([name, source.size]));
    const pieces = source.size <= WHOLE_BYTES ? Math.ceil(source.size / SAMPLE_BYTES) : WHOLE_BYTES / SAMPLE_BYTES;
    for (let i = 0; i < pieces; i++) {
      const start =
        source.size <= WHOLE_BYTES ? i * SAMPLE_BYTES : Math.floor((i * (source.size - SAMPLE_BYTES)) / (pieces - 1));
      hash.update(await source.read(start, Math.min(source.size, start + SAMPLE_BYTES)));
    }
  }
  return hash.digest("hex").slice(0, 16);
}
