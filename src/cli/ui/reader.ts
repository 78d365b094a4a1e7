import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { CompletionRecord, LogRecord, RunRecord, RunStatus, RunSummary } from "../../client/types.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import { lockOwner } from "../../platform/node/lock.ts";
import { type RunFacts, readRunFile, runFile } from "../../session/run-file.ts";
import { guessedMethod, shownCompletions, shownLogs } from "../../session/run-lines.ts";
import { metricsFile } from "../../session/run-log.ts";
import { GrowingFile } from "./growing-file.ts";

/** Generation batches that are shown. */
const BATCHES = 24;
/** Larger files of completions are left out, in bytes. */
const MOST_COMPLETIONS = 16 << 20;
/** A larger run.json is left out, in bytes. */
const MOST_FACTS = 1 << 20;
const COMPLETIONS = /^completions_(\d+)\.jsonl$/;
const RESULTS = ["adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json"];

/** What is new about a run since a client last asked. */
interface RunNews {
  summary: RunSummary;
  /** changes when the logs begin anew */
  generation: number;
  /** index of the first log of `logs` */
  from: number;
  /** each with `elapsed`, where the file has it */
  logs: LogRecord[];
  /** all batches that are shown, if their files have changed; else null */
  completions: RunRecord["completions"] | null;
  /** names the state of the files of completions */
  version: string;
  recipes: string[];
  device: string | null;
  /** what could not be read */
  notes: string[];
}

/** What a client has of a run. */
interface Known {
  generation: number;
  logs: number;
  version: string;
}

/** A run's folder, read as it grows. Nothing is written, locked or executed. */
export class RunReader {
  readonly id: string;
  private readonly path: string;
  private readonly name: string;
  private readonly metrics: GrowingFile;
  private generation = 0;
  private logs: LogRecord[] = [];
  private bad = 0;
  private batches = new Map<string, { key: string; records: CompletionRecord[]; step: number } | null>();
  private turn: Promise<unknown> = Promise.resolve();

  /** @param name what the run is called on the page */
  constructor(id: string, path: string, name: string) {
    this.id = id;
    this.path = path;
    this.name = name;
    this.metrics = new GrowingFile(join(path, metricsFile));
  }

  summary(): Promise<RunSummary> {
    return this.alone(async () => {
      await this.readLogs();
      return this.summarise(await this.facts());
    });
  }

  news(known: Known): Promise<RunNews> {
    return this.alone(async () => {
      await this.readLogs();
      const facts = await this.facts();
      const version = await this.readBatches();
      const from = known.generation === this.generation ? Math.min(known.logs, this.logs.length) : 0;
      return {
        summary: await this.summarise(facts),
        generation: this.generation,
        from,
        logs: this.logs.slice(from),
        completions: version === known.version ? null : this.shown(),
        version,
        recipes: facts ? [facts.recipe] : [],
        device: facts?.device ?? null,
        notes: this.bad > 0 ? [`${this.bad} lines of ${metricsFile} are no logs and are left out.`] : [],
      };
    });
  }

  /** One reading at a time: two tabs must not share the place in a file. */
  private alone<T>(work: () => Promise<T>): Promise<T> {
    const result = this.turn.then(work);
    this.turn = result.catch(() => {});
    return result;
  }

  private async readLogs(): Promise<void> {
    const lines = await this.metrics.lines();
    if (this.metrics.generation !== this.generation) {
      this.generation = this.metrics.generation;
      this.logs = [];
      this.bad = 0;
    }
    const { logs, bad } = shownLogs(lines);
    for (const log of logs) this.logs.push(log);
    this.bad += bad;
  }

  /** What run.json says; null: it is missing, no file, or too large to be one of ours. */
  private async facts(): Promise<RunFacts | null> {
    const found = await stat(join(this.path, runFile)).catch(() => null);
    return found?.isFile() && found.size <= MOST_FACTS ? readRunFile(nodeFolder(this.path)) : null;
  }

  private async summarise(facts: RunFacts | null): Promise<RunSummary> {
    const method = facts?.method ?? guessedMethod(this.logs);
    const global_step = this.logs.reduce((most, { step }) => Math.max(most, step), 0);
    const max_steps = facts?.max_steps ?? null;
    return {
      id: this.id,
      name: this.name,
      created: facts ? Date.parse(facts.began) : await modified(join(this.path, metricsFile)),
      status: await this.statusOf(facts),
      problem: facts?.problem ?? null,
      phase: 0,
      phases: [{ method, max_steps, global_step }],
      model: facts?.model || "a model",
      data: facts?.data || "rows",
      accuracy: null,
    };
  }

  /** A folder whose process was killed says that it runs: then nobody holds its lock. */
  private async statusOf(facts: RunFacts | null): Promise<RunStatus> {
    if (await lockOwner(join(this.path, "qwench.lock"))) return "running";
    if (facts)
      return { finished: "finished", failed: "failed", interrupted: "paused", running: "paused" }[
        facts.status
      ] as RunStatus;
    const files: string[] = await readdir(this.path).catch(() => []);
    return RESULTS.some((name) => files.includes(name)) ? "finished" : "paused";
  }

  /** Reads the newest files of completions that have changed. @returns a name of their state */
  private async readBatches(): Promise<string> {
    const folder = join(this.path, "completions");
    const files = (await readdir(folder).catch(() => [])).filter((name) => COMPLETIONS.test(name));
    const newest = files.sort((a, b) => stepOf(a) - stepOf(b)).slice(-BATCHES);
    for (const name of this.batches.keys()) if (!newest.includes(name)) this.batches.delete(name);
    const keys: string[] = [];
    for (const name of newest) {
      const facts = await stat(join(folder, name)).catch(() => null);
      const key = facts?.isFile() ? `${name} ${facts.ino} ${facts.size} ${facts.mtimeMs}` : `${name} none`;
      keys.push(key);
      if (this.batches.get(name)?.key === key) continue;
      const small = facts?.isFile() && facts.size <= MOST_COMPLETIONS;
      this.batches.set(name, { key, step: stepOf(name), records: small ? await batchOf(join(folder, name)) : [] });
    }
    return keys.join("\n");
  }

  private shown(): RunRecord["completions"] {
    return [...this.batches.values()]
      .flatMap((batch) =>
        batch && batch.records.length > 0 ? [{ phase: 0, step: batch.step, records: batch.records }] : [],
      )
      .sort((a, b) => a.step - b.step);
  }
}

const stepOf = (name: string) => Number(COMPLETIONS.exec(name)![1]);

/** The completions of a file, line by line: one that cannot be read is left out. */
async function batchOf(path: string): Promise<CompletionRecord[]> {
  const handle = await open(path, "r").catch(() => null);
  if (!handle) return [];
  try {
    return shownCompletions(await handle.readFile("utf8"), path);
  } finally {
    await handle.close();
  }
}

async function modified(path: string): Promise<number> {
  return (await stat(path).catch(() => null))?.mtimeMs ?? 0;
}
