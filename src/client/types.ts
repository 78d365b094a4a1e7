import type { Method } from "../recipe/field.ts";
import type { SeenRows } from "../session/data/view.ts";
import type { SolvedProblem } from "../session/evaluate.ts";
import type { CompletionRecord } from "../train/grpo/rollout.ts";
import type { LogRecord } from "../train/metrics.ts";
import type { ChatEvent, ChatRequest, RunCheckpoint } from "./chat.ts";
import type { DocumentTrainer } from "./document-types.ts";
import type { ForecastEvent, JobPlan, PhasePlan } from "./plan.ts";
import type { JudgeAccess, JudgeQuestion, JudgeTrial, RewardRows, RewardSource } from "./rewards.ts";
import type { ModelSource, Stream } from "./sources.ts";

export type * from "./document-types.ts";
export type * from "./plan.ts";
export type * from "./sources.ts";

// The types that a page and its worker exchange. All of them survive structured cloning.

/** Where rows come from. `columns` maps Qwench's column names (prompt, question, answer, chosen, rejected, messages, text …) to the file's. */
export type DataSource =
  | { kind: "embedded"; rows: "sft" | "prompts" | "preferences" }
  | { kind: "hub"; id: string; config?: string; split?: string; columns?: Record<string, string> }
  | { kind: "file"; file: File; columns?: Record<string, string> }
  | { kind: "stored"; id: string; columns?: Record<string, string> };

/** One stage of a job. Each phase continues from the previous phase's adapter. */
export interface Phase {
  method: Method;
  data: DataSource;
  /** recipe fields that differ from the defaults; the job supplies the model and data fields */
  recipe: Record<string, unknown>;
  /** the modules that `reward_funcs` names, as `./NAME` or `./NAME:EXPORT`; a trainer needs a `RewardSandbox` for them */
  modules?: RewardSource[];
}

/** What to train. */
export interface Job {
  name: string;
  model: ModelSource;
  phases: Phase[];
  /** held-out problems to solve before the first phase and after each phase; null: none */
  evaluate: { data: DataSource; problems: number } | null;
  /** the run whose newest adapter the first phase continues from; `create` copies it */
  continues?: string | null;
}

/** The browser's GPU. */
export interface DeviceInfo {
  adapter: string;
  /** a software adapter, which computes on the CPU: works, but slowly */
  software: boolean;
  /** advice about this device, or null */
  advice: string | null;
  features: { f16: boolean; subgroups: boolean };
  limits: { maxBufferSize: number; maxStorageBufferBindingSize: number };
}

/** A model's score on held-out problems. `stage`: base, or the name of the phase that has just ended. */
export interface Evaluation {
  stage: "base" | Method;
  phase: number;
  /** the step of a checkpoint that was evaluated; absent: the end of its phase, or the start */
  step?: number;
  accuracy: number;
  problems: SolvedProblem[];
}

/** A saved state of a run. `step` counts from 1 within its phase. */
export interface SavedStep {
  phase: number;
  step: number;
}

/** Events of a run. Steps count from 1 within a phase. */
export type RunEvent =
  /** loading, downloading, compiling or sampling; `total` is null if unknown */
  | {
      type: "progress";
      what: string;
      done: number;
      total: number | null;
      unit: "bytes" | "rows" | "completions" | "problems" | "kernels";
    }
  | { type: "phase"; phase: number; method: Method; max_steps: number; global_step: number; plan: PhasePlan }
  | { type: "step"; phase: number; step: number; tokens: number; loss: number; reward: number | null }
  | { type: "log"; phase: number; record: LogRecord }
  | { type: "eval"; phase: number; record: LogRecord }
  /** small pictures, as data URLs, of the images that the next event's records name by their keys */
  | { type: "pictures"; pictures: Record<string, string> }
  | { type: "generated"; phase: number; step: number; records: CompletionRecord[] }
  /** a held-out problem is answered, before all of them are `evaluated` */
  | {
      type: "solved";
      stage: Evaluation["stage"];
      phase: number;
      /** its place among `total` problems */
      index: number;
      total: number;
      problem: SolvedProblem;
    }
  | { type: "evaluated"; evaluation: Evaluation }
  | { type: "checkpoint"; phase: number; step: number }
  | { type: "note"; text: string }
  | { type: "warning"; text: string }
  | { type: "end"; seconds: number };

/** Status of a run. */
export type RunStatus = "ready" | "running" | "paused" | "stopped" | "failed" | "finished";

/** A run in the history. The history survives reloads and crashes. */
export interface RunSummary {
  id: string;
  name: string;
  /** milliseconds since 1970 */
  created: number;
  status: RunStatus;
  /** error message of a failed run, or null */
  problem: string | null;
  phase: number;
  phases: { method: Method; max_steps: number | null; global_step: number }[];
  model: string;
  data: string;
  /** from the last evaluation, or null */
  accuracy: number | null;
}

/** Everything stored about a run except its checkpoints. */
export interface RunRecord extends RunSummary {
  job: Job;
  /** complete recipes as YAML, one per phase */
  recipes: string[];
  /** one entry per phase */
  logs: LogRecord[][];
  /** from the newest generation batches */
  completions: { phase: number; step: number; records: CompletionRecord[] }[];
  evaluations: Evaluation[];
  /** small pictures of the images of completions and problems, as data URLs by key; absent: there are none */
  pictures?: Record<string, string>;
}

/** A file of a folder that a user opened. */
export interface FolderFile {
  /** with `/`, beginning with the folder's name */
  path: string;
  file: Blob;
}

/** A run of the command line in a folder: it can be looked at, and nothing else. */
export interface FolderRun {
  /** its id begins with `folder:`; its evaluations are those that `qwench eval` wrote beside it */
  record: RunRecord;
  /** the adapter's name */
  device: string | null;
  /** what could not be read */
  notes: string[];
}

/** An entry of storage: a model, data set or run. */
export interface StoredItem {
  id: string;
  kind: "model" | "data" | "run";
  name: string;
  bytes: number;
  created: number | null;
}

/** The browser's storage for this site. */
export interface StorageUsage {
  /** bytes */
  usage: number;
  quota: number;
  /** whether the browser has promised not to evict it */
  persisted: boolean;
  items: StoredItem[];
}

/** The first rows of a data set, and how Qwench would map its columns. */
export interface DataPreview {
  columns: string[];
  /** cells as text, cut to a few hundred characters */
  rows: string[][];
  /** what the rows are, such as "question and answer"; null: not known */
  form: string | null;
  /** the mapping that Qwench would use, or null with the reason */
  columnsTaken: Record<string, string> | null;
  /** columns that the form does not use; reward functions still get them */
  unused: string[];
  problem: string | null;
  /** total number of rows, if known */
  count: number | null;
}

/** A recipe option, described for a form. The recipe's own field tables supply it. */
export interface FormField {
  name: string;
  group: string;
  type: "string" | "boolean" | "integer" | "number" | "choice" | "list" | "object" | "mappings" | "toggle";
  default: unknown;
  nullable: boolean;
  choices: string[] | null;
  min: number | null;
  max: number | null;
  unit: string | null;
  help: string;
}

/** A recipe to start from. */
export interface Preset {
  id: string;
  name: string;
  help: string;
  method: Method;
  /** the model that the recipe is made for; null: any */
  model: "embedded" | null;
  recipe: Record<string, unknown>;
  /** of a published recipe: its model and rows */
  job?: { model: ModelSource; data: DataSource };
}

/**
 * `adapter`: PEFT's folder with a model card, recipes and metrics; `merged`: the whole model in 16 bits; `merged_4bit`: the same
 * with linear layers in bitsandbytes' NF4; `gguf`: the whole model in Q8_0, or in the type that it names, for llama.cpp and Ollama;
 * `gguf_lora`: the adapter alone for llama.cpp; `recipe`: one YAML file per phase, in a zip if there are several.
 */
export type ExportKind =
  | "adapter"
  | "merged"
  | "merged_4bit"
  | "gguf"
  | "gguf_f16"
  | "gguf_bf16"
  | "gguf_q4_0"
  | "gguf_lora"
  | "report"
  | "recipe";

/** Where to push a run's adapter. */
export interface PushRequest {
  /** `owner/name`; created if it does not exist */
  repo: string;
  private: boolean;
  /** an access token with write access; sent to the hub only, never stored */
  token: string;
}

/** Events of a push. */
export type PushEvent =
  | { type: "progress"; what: string; done: number; total: number | null }
  | { type: "end"; url: string; commit: string };

/** A file for the user to save. */
export interface ExportedFile {
  name: string;
  type: string;
  blob: Blob;
}

/** A trainer in a worker. The page's main thread does no training work. */
export interface Trainer {
  /** @throws GpuError without WebGPU; the message says what to do */
  device(): Promise<DeviceInfo>;
  recipe: {
    fields(method: Method): Promise<FormField[]>;
    presets(): Promise<Preset[]>;
    /** parses values or YAML into the fields that differ from the defaults, and notes; throws RecipeError */
    parse(
      input: Record<string, unknown> | string,
      method: Method,
    ): Promise<{ recipe: Record<string, unknown>; notes: string[] }>;
    format(recipe: Record<string, unknown>, method: Method): Promise<string>;
  };
  data: {
    preview(source: DataSource): Promise<DataPreview>;
    /** The first rows as a run would see them, and the lengths of as many as a few seconds allow. Downloads no weights. */
    see(
      source: DataSource,
      as: { model: ModelSource; method: Method; recipe: Record<string, unknown> },
    ): Promise<SeenRows>;
    /** A file from an address, such as a data set's. @throws {NetworkError} the server does not allow it */
    fetch(url: string): Promise<File>;
    /** The first rows as the reward functions of GRPO get them. @param recipe of the phase: its system prompt is added */
    rewardRows(source: DataSource, recipe: Record<string, unknown>, count: number): Promise<RewardRows>;
    /**
     * Asks a judge about one completion, as a run would.
     *
     * @param fields the recipe's fields about its judge
     * @param question.judge the key, if the endpoint needs one: it is used for this request only
     * @throws {NetworkError} the judge cannot be reached, or refuses
     */
    tryJudge(
      fields: Record<string, unknown>,
      question: JudgeQuestion & { judge?: JudgeAccess | null },
    ): Promise<JudgeTrial>;
  };
  documents: DocumentTrainer;
  storage: {
    usage(): Promise<StorageUsage>;
    persist(): Promise<boolean>;
    remove(id: string): Promise<void>;
  };
  /**
   * Downloads a job's files into storage. Resumes interrupted downloads.
   *
   * @param options.as whether a hub id names a model or a data set; default: a data set if `split`, `config`, `columns` or
   *   `rows` is given
   */
  download(
    source: ModelSource | DataSource,
    options?: { signal?: AbortSignal; as?: "model" | "data" },
  ): Stream<RunEvent>;
  plan(job: Job, options?: { signal?: AbortSignal }): Promise<JobPlan>;
  /**
   * The same in parts: first what the model's shape and rows that were read before tell, within 200 ms; then what all rows tell; then
   * the time, for which an unknown adapter is measured once.
   *
   * @param options.quick only the first part, without any download or measurement; no event if nothing is known
   */
  forecast(job: Job, options?: { signal?: AbortSignal; quick?: boolean }): Stream<ForecastEvent>;
  runs: {
    list(): Promise<RunSummary[]>;
    get(id: string): Promise<RunRecord>;
    remove(id: string): Promise<void>;
    rename(id: string, name: string): Promise<void>;
    /** Stores a job; `start` runs it. @returns the run's id */
    create(job: Job): Promise<string>;
    /**
     * Starts a run, or resumes it from its last checkpoint. Leaving the loop, or aborting `signal`, saves a checkpoint at the
     * next step boundary and pauses the run.
     *
     * @param options.judge the key of a recipe with a judge, if its endpoint needs one
     * @throws {BusyError} if another tab is training
     */
    start(id: string, options?: { signal?: AbortSignal; judge?: JudgeAccess | null }): Stream<RunEvent>;
    /** Ends a paused or interrupted run at its last checkpoint: status "stopped". Its adapter and history are kept. */
    stop(id: string): Promise<void>;
    /** The adapters that are kept, in the order of training. */
    checkpoints(id: string): Promise<RunCheckpoint[]>;
    /** A run as one file: its record and adapters, without checkpoints, for `unpack` in another browser. */
    pack(id: string): Promise<ExportedFile>;
    /** Adds a packed run to the history, where it can be looked at and continued from. @returns its new id; @throws {FormatError} */
    unpack(file: File): Promise<string>;
    /** The command line's runs in a folder, and their evaluations. Only reads: the runs do not become part of the history. */
    read(files: readonly FolderFile[]): Promise<FolderRun[]>;
    /** The saved states of a run that is not training, the newest first. */
    saved(id: string): Promise<SavedStep[]>;
    /**
     * Solves a job's held-out problems with a saved state, and keeps the result. Events: progress, then evaluated.
     *
     * @param options.at default: the newest
     * @throws {BusyError} the run is training
     */
    evaluate(id: string, options?: { signal?: AbortSignal; at?: SavedStep }): Stream<RunEvent>;
  };
  chat(request: ChatRequest, options?: { signal?: AbortSignal }): Stream<ChatEvent>;
  export(run: string, kind: ExportKind, options?: { signal?: AbortSignal }): Promise<ExportedFile>;
  /** Sends a run's adapter to the hub, in one commit, with its card, recipes and metrics. */
  push(run: string, request: PushRequest, options?: { signal?: AbortSignal }): Stream<PushEvent>;
  /** Uses an access token for downloads from now on; null: none. It stays in memory, and is sent to the hub only. */
  signIn(token: string | null): Promise<void>;
  /** Terminates the worker immediately. The last checkpoint is kept. */
  terminate(): void;
  /** resolves with a message when the worker dies or the GPU is lost */
  readonly lost: Promise<string>;
}

export type * from "./chat.ts";
export type * from "./rewards.ts";
export type { CompletionRecord, LogRecord, Method, SeenRows, SolvedProblem };
