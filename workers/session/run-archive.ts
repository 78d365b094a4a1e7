import { unzipSync } from "fflate";
import type { Job, RunRecord } from "../../src/client/types.ts";
import { FormatError } from "../../src/errors.ts";
import { ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE } from "../../src/io/peft.ts";
import type { Folder } from "../../src/io/storage.ts";
import { ranges } from "../../src/platform/browser/opfs-folder.ts";
import { methods } from "../../src/recipe/recipe.ts";
import { parseBoundedJson } from "../../src/text/bounded-json.ts";
import { isObject } from "../../src/text/json.ts";
import { messageOf } from "../../src/text/show.ts";
import { checkZip } from "../../src/text/zip-check.ts";
import { checkpointNames } from "../../src/train/checkpoint.ts";
import type { StoredRun } from "./runs.ts";

/** The record within an archive. */
const RECORD = "run.json";
const VERSION = 1;
/** Bytes of an archive's files together: an adapter of a small model has tens of megabytes. */
const MOST_BYTES = 1 << 30;
const ADAPTER_FILES = [ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE] as const;

interface Entry {
  name: string;
  content: string | AsyncIterable<Uint8Array>;
}

/**
 * The files of a run's archive: its record, and each phase's newest adapter. Checkpoints are left out, so that an imported run
 * cannot be resumed, but evaluated, chatted with and continued from.
 */
export async function* archiveEntries(run: StoredRun, folderOf: (phase: number) => Folder): AsyncGenerator<Entry> {
  const { job } = run;
  yield { name: RECORD, content: JSON.stringify({ version: VERSION, run: { ...run, job: withoutFiles(job) } }) };
  for (let phase = 0; phase < run.phases.length; phase++) {
    const folder = await adapterFolder(folderOf(phase));
    if (!folder) continue;
    for (const name of ADAPTER_FILES) {
      yield { name: `phase-${phase + 1}/${name}`, content: ranges(await folder.open(name)) };
    }
  }
}

/** JSON holds no File, and another browser has none of this one's stored files. */
function withoutFiles(job: Job): unknown {
  return JSON.parse(JSON.stringify(job));
}

async function adapterFolder(folder: Folder): Promise<Folder | null> {
  if (await folder.exists(ADAPTER_WEIGHTS_FILE)) return folder;
  for (const name of (await checkpointNames(folder)).reverse()) {
    if (await folder.folder(name).exists(ADAPTER_WEIGHTS_FILE)) return folder.folder(name);
  }
  return null;
}

/** A run that was read from an archive. */
interface Unpacked {
  run: StoredRun;
  /** files of each phase's adapter */
  adapters: ReadonlyMap<number, ReadonlyMap<string, Uint8Array>>;
}

/** Reads an archive, which may be damaged or hostile. @param id of the run that it becomes. @throws {FormatError} */
export function readArchive(bytes: Uint8Array, name: string, id: string): Unpacked {
  const refuse = (why: string): never => {
    throw new FormatError(
      `Cannot import ${name}: ${why}. Choose a file that this page has made with “Export this run”`,
    );
  };
  let files: Record<string, Uint8Array>;
  try {
    checkZip(bytes);
    let total = 0;
    files = unzipSync(bytes, {
      filter({ name: inner, originalSize }) {
        if (inner !== RECORD && !/^phase-\d{1,2}\/adapter_(?:config\.json|model\.safetensors)$/.test(inner))
          return false;
        total += originalSize;
        if (total > MOST_BYTES) throw new FormatError("its files are larger than 1 GB");
        return true;
      },
    });
  } catch (error) {
    return refuse(`it is no archive (${messageOf(error)})`);
  }
  const record = files[RECORD];
  if (!record) return refuse(`it has no ${RECORD}`);
  let found: unknown;
  try {
    found = parseBoundedJson(new TextDecoder().decode(record));
  } catch (error) {
    return refuse(`its ${RECORD} is damaged (${messageOf(error)})`);
  }
  if (!isObject(found) || found.version !== VERSION || !isObject(found.run)) {
    return refuse(`its ${RECORD} is of another version`);
  }
  const why = faultOf(found.run);
  if (why) return refuse(`its ${RECORD} has ${why}`);
  const given = found.run as unknown as StoredRun;
  const adapters = new Map<number, Map<string, Uint8Array>>();
  given.phases.forEach((_, phase) => {
    const own = ADAPTER_FILES.map((file) => [file, files[`phase-${phase + 1}/${file}`]] as const);
    if (own.every(([, content]) => content !== undefined)) adapters.set(phase, new Map(own));
  });
  const over = given.status === "finished" ? "finished" : "stopped";
  const done = Math.max(0, ...[...adapters.keys()].map((phase) => phase + 1));
  const { continues: _, ...job } = given.job;
  return { run: { ...given, id, job, status: over, problem: null, done }, adapters };
}

const isText = (value: unknown): value is string => typeof value === "string";
const isCount = (value: unknown) => typeof value === "number" && Number.isFinite(value) && value >= 0;

/** What is wrong with a record, or null: whatever a view reads must have its type. */
function faultOf(run: Record<string, unknown>): string | null {
  const { phases, job, logs, recipes, evaluations, completions } = run as Partial<Record<keyof RunRecord, unknown>>;
  if (!isText(run.name) || !isText(run.model) || !isText(run.data)) return "no name, model or data";
  if (!isCount(run.created) || !isCount(run.phase) || !isCount(run.seconds)) return "no time or phase";
  const known = (method: unknown) => methods.some((one) => one === method);
  if (!Array.isArray(phases) || phases.length === 0 || phases.length > 9) return "no phases";
  const sound = (phase: unknown) => isObject(phase) && known(phase.method) && isCount(phase.global_step);
  if (!phases.every(sound) || (run.phase as number) >= phases.length) return "a phase of an unknown kind";
  if (!isObject(job) || !isObject(job.model) || !Array.isArray(job.phases) || job.phases.length !== phases.length) {
    return "no job for its phases";
  }
  const asked = (phase: unknown) =>
    isObject(phase) && known(phase.method) && isObject(phase.recipe) && isObject(phase.data);
  if (!job.phases.every(asked)) return "a job of an unknown kind";
  if (!Array.isArray(recipes) || !recipes.every(isText)) return "no recipes";
  const isLog = (log: unknown) =>
    isObject(log) && isCount(log.step) && Object.values(log).every((x) => x === null || typeof x === "number");
  if (!Array.isArray(logs) || !logs.every((list) => Array.isArray(list) && list.every(isLog))) return "damaged logs";
  const isProblem = (one: unknown) =>
    isObject(one) &&
    [one.question, one.gold, one.completion, one.answer].every(isText) &&
    typeof one.correct === "boolean";
  const isEvaluation = (one: unknown) =>
    isObject(one) &&
    (one.stage === "base" || known(one.stage)) &&
    isCount(one.phase) &&
    isCount(one.accuracy) &&
    Array.isArray(one.problems) &&
    one.problems.every(isProblem);
  if (!Array.isArray(evaluations) || !evaluations.every(isEvaluation)) return "damaged evaluations";
  const isCompletion = (one: unknown) =>
    isObject(one) && isText(one.prompt) && isText(one.completion) && isObject(one.rewards);
  const isBatch = (one: unknown) =>
    isObject(one) &&
    isCount(one.phase) &&
    isCount(one.step) &&
    Array.isArray(one.records) &&
    one.records.every(isCompletion);
  if (!Array.isArray(completions) || !completions.every(isBatch)) return "damaged completions";
  return null;
}
