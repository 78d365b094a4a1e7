import type { Evaluation, FolderFile, FolderRun, LogRecord, RunRecord, RunStatus } from "../../src/client/types.ts";
import { type Evaluation as EvaluationFile, readEvaluation } from "../../src/eval/compare/file.ts";
import type { EvalFile } from "../../src/eval/results.ts";
import { filesFolder } from "../../src/platform/browser/files-folder.ts";
import { type RunFacts, readRunFile, runFile } from "../../src/session/run-file.ts";
import { guessedMethod, shownCompletions, shownLogs } from "../../src/session/run-lines.ts";
import { metricsFile } from "../../src/session/run-log.ts";
import { counted } from "../../src/text/numbers.ts";

/** Generation batches that are shown. */
const BATCHES = 24;
/** Larger files are left out, in bytes. */
const MOST = { facts: 1 << 20, logs: 256 << 20, completions: 16 << 20, evaluation: 64 << 20 };
const COMPLETIONS = /^completions\/completions_(\d+)\.jsonl$/;
const RESULTS = ["adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json"];
const STATUS: Record<RunFacts["status"], RunStatus> = {
  finished: "finished",
  failed: "failed",
  interrupted: "paused",
  running: "running",
};

/** An evaluation of `qwench eval`: what a comparison needs, and the answers. */
interface Answered {
  /** the folder that its file lies in */
  folder: string;
  read: EvaluationFile;
  problems: Evaluation["problems"];
}

/**
 * The runs in a folder of the command line, with the evaluations of `qwench eval` beside them. Only reads.
 *
 * @param files of the folder and those below it; their paths begin with the folder's name
 */
export async function readRunFolders(files: readonly FolderFile[]): Promise<FolderRun[]> {
  const folders = new Map<string, Map<string, Blob>>();
  for (const { path, file } of files) {
    const [, folder, name] = /^(?:(.*)\/)?([^/]+)$/.exec(path) ?? [];
    if (!name) continue;
    const own = folders.get(folder ?? "") ?? new Map<string, Blob>();
    folders.set(folder ?? "", own.set(name, file));
  }
  const evaluations = await readEvaluations(folders);
  const runs: FolderRun[] = [];
  for (const [folder, own] of [...folders].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (!own.has(runFile) && !own.has(metricsFile)) continue;
    const batches = folders.get(folder ? `${folder}/completions` : "completions") ?? new Map<string, Blob>();
    runs.push(await readRun(folder, own, batches, evaluations));
  }
  return runs;
}

async function readRun(
  folder: string,
  files: ReadonlyMap<string, Blob>,
  batches: ReadonlyMap<string, Blob>,
  answered: readonly Answered[],
): Promise<FolderRun> {
  const notes: string[] = [];
  const small = (name: string, most: number) => {
    const file = files.get(name);
    if (file && file.size > most) notes.push(`${name} is too large to be shown and is left out.`);
    return file && file.size <= most ? file : null;
  };
  const facts = small(runFile, MOST.facts) && (await readRunFile(filesFolder(folder, files)));
  const lines = ((await small(metricsFile, MOST.logs)?.text()) ?? "").split("\n").slice(0, -1);
  const { logs, bad } = shownLogs(lines);
  if (bad > 0) notes.push(`${counted(bad, "line")} of ${metricsFile} cannot be read as logs and are left out.`);
  const method = facts?.method ?? guessedMethod(logs);
  const global_step = logs.reduce((most, { step }) => Math.max(most, step), 0);
  const name = folder || "this folder";
  const [model, data] = [facts?.model || "a model", facts?.data || "rows"];
  const { evaluations, left } = evaluationsOf({ folder, method, model }, answered);
  if (left > 0)
    notes.push(`${counted(left, "evaluation")} of other problems cannot be compared here: use qwench compare.`);
  const finished = RESULTS.some((one) => files.has(one));
  const record: RunRecord = {
    id: `folder:${folder}`,
    name,
    created: facts ? Date.parse(facts.began) : modified(files.get(metricsFile)),
    status: facts ? STATUS[facts.status] : finished ? "finished" : "paused",
    problem: facts?.problem ?? null,
    phase: 0,
    phases: [{ method, max_steps: facts?.max_steps ?? null, global_step }],
    model,
    data,
    accuracy: evaluations.at(-1)?.accuracy ?? null,
    job: {
      name,
      model: { kind: "stored", id: model },
      phases: [{ method, data: { kind: "stored", id: data }, recipe: {} }],
      evaluate: null,
    },
    recipes: facts ? [facts.recipe] : [],
    logs: [logs as LogRecord[]],
    completions: await readBatches(batches),
    evaluations,
  };
  return { record, device: facts?.device ?? null, notes };
}

const modified = (file: Blob | undefined) => (file instanceof File ? file.lastModified : 0);

async function readBatches(files: ReadonlyMap<string, Blob>): Promise<RunRecord["completions"]> {
  const steps = [...files].flatMap(([name, file]) => {
    const step = COMPLETIONS.exec(`completions/${name}`)?.[1];
    return step && file.size <= MOST.completions ? [{ step: Number(step), name, file }] : [];
  });
  const newest = steps.sort((a, b) => a.step - b.step).slice(-BATCHES);
  const all: RunRecord["completions"] = [];
  for (const { step, name, file } of newest) {
    const records = shownCompletions(await file.text(), name);
    if (records.length > 0) all.push({ phase: 0, step, records });
  }
  return all;
}

/** Every JSON file of a folder that is an evaluation. */
async function readEvaluations(folders: ReadonlyMap<string, ReadonlyMap<string, Blob>>): Promise<Answered[]> {
  const all: Answered[] = [];
  for (const [folder, files] of folders) {
    for (const [name, file] of files) {
      if (!name.endsWith(".json") || file.size > MOST.evaluation || file.size === 0) continue;
      const text = await file.text();
      if (!/"records"\s*:/.test(text) || !/"results"\s*:/.test(text)) continue;
      try {
        const read = readEvaluation(text, name);
        all.push({ folder, read, problems: problemsOf(JSON.parse(text) as EvalFile) });
      } catch {
        // another program's JSON
      }
    }
  }
  return all;
}

/** Problems with one answer each: the first that is right, else the first. */
function problemsOf({ records }: EvalFile): Evaluation["problems"] {
  return Object.values(records).map((record) => {
    const right = record.correct_responses?.indexOf(true) ?? -1;
    const at = Math.max(0, right);
    return {
      question: record.problem,
      gold: String(record.ground_truth ?? "by its tests"),
      completion: String(record.responses?.[at] ?? ""),
      answer: String(record.extracted_answers?.[at] ?? ""),
      correct: record.is_correct,
    };
  });
}

interface OfRun {
  folder: string;
  method: Evaluation["stage"];
  model: string;
}

/** A run's evaluations on the problems that most of them share: of its base, its checkpoints, and its result. */
function evaluationsOf(run: OfRun, answered: readonly Answered[]): { evaluations: Evaluation[]; left: number } {
  const groups = new Map<string, Map<string, Evaluation>>();
  for (const { folder, read, problems } of answered) {
    const place = placeOf(run, folder, read);
    if (!place) continue;
    const key = JSON.stringify([read.dataset, problems.map(({ question }) => question)]);
    const group = groups.get(key) ?? new Map<string, Evaluation>();
    groups.set(key, group);
    const right = problems.filter(({ correct }) => correct).length;
    group.set(`${place.stage} ${place.step}`, { ...place, phase: 0, accuracy: right / problems.length, problems });
  }
  const trained = (group: ReadonlyMap<string, Evaluation>) =>
    [...group.values()].filter(({ stage }) => stage !== "base");
  // a base alone says nothing about this run
  const best = [...groups.values()].filter((one) => trained(one).length > 0).sort((a, b) => b.size - a.size)[0];
  if (!best) return { evaluations: [], left: 0 };
  const order = ({ stage, step = Number.POSITIVE_INFINITY }: Evaluation) => (stage === "base" ? -1 : step);
  const evaluations = [...best.values()].sort((a, b) => order(a) - order(b));
  const others = [...groups.values()].filter((one) => one !== best && trained(one).length > 0);
  return { evaluations, left: others.reduce((sum, one) => sum + trained(one).length, 0) };
}

/** What of a run an evaluation is of; null: of another run. */
function placeOf(
  run: OfRun,
  folder: string,
  { adapter, model }: EvaluationFile,
): Pick<Evaluation, "stage" | "step"> | null {
  for (const path of [adapter, model]) {
    const parts = (path ?? "").replaceAll("\\", "/").split("/").filter(Boolean);
    const step = /^checkpoint-(\d+)$/.exec(parts.at(-1) ?? "")?.[1];
    const own = step === undefined ? parts.at(-1) : parts.at(-2);
    const inside = path === adapter && folder === run.folder;
    if (path !== null && (own === run.folder.split("/").at(-1) || inside))
      return { stage: run.method, ...(step !== undefined && { step: Number(step) }) };
    if (path === adapter && adapter !== null) return null;
  }
  return model === null || model === run.model || basename(model) === basename(run.model) ? { stage: "base" } : null;
}

const basename = (path: string) => path.replaceAll("\\", "/").replace(/\/+$/, "").split("/").at(-1);
