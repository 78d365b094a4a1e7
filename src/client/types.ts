import type { ReadDocument } from "../data/documents/document.ts";
import type { Pair } from "../data/documents/pair.ts";
import type { CreateType } from "../data/documents/prompts.ts";
import type { Method } from "../recipe/field.ts";
import type { RatedPair } from "../session/data/folder.ts";
import type { SeenRows } from "../session/data/view.ts";
import type { SolvedProblem } from "../session/evaluate.ts";
import type { CompletionRecord } from "../train/grpo/rollout.ts";
import type { LogRecord } from "../train/metrics.ts";
import type { ChatEvent, ChatRequest, ModelSource, RunCheckpoint } from "./chat.ts";
import type { JudgeAccess, RewardRows, RewardSource } from "./rewards.ts";

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

/** The memory forecast of one phase, made before any allocation. */
export interface PhasePlan {
  method: Method;
  /** bytes of GPU memory */
  memory: { peak: number; byKind: Record<string, number> };
  trainable: number;
  parameters: number;
  rows: number;
  max_steps: number;
  notes: string[];
}

/** Whether a job can run. `problem`: a sentence for the user that says why it cannot. */
export interface JobPlan {
  phases: PhasePlan[];
  fits: boolean;
  problem: string | null;
  /** bytes still to download; null if not known yet */
  download: number | null;
}

/** A model's score on held-out problems. `stage`: base, or the name of the phase that has just ended. */
export interface Evaluation {
  stage: "base" | Method;
  phase: number;
  accuracy: number;
  problems: SolvedProblem[];
}

/** Events of a run. Steps count from 1 within a phase. */
export type RunEvent =
  /** loading, downloading, compiling or sampling; `total` is null if unknown */
  | {
      type: "progress";
      what: string;
      done: number;
      total: number | null;
      unit: "bytes" | "rows" | "completions" | "problems";
    }
  | { type: "phase"; phase: number; method: Method; max_steps: number; global_step: number; plan: PhasePlan }
  | { type: "step"; phase: number; step: number; tokens: number; loss: number; reward: number | null }
  | { type: "log"; phase: number; record: LogRecord }
  | { type: "eval"; phase: number; record: LogRecord }
  /** small pictures, as data URLs, of the images that the next event's records name by their keys */
  | { type: "pictures"; pictures: Record<string, string> }
  | { type: "generated"; phase: number; step: number; records: CompletionRecord[] }
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

/** A document in storage. */
export interface StoredDocument {
  /** unique; its chunks are NAME_0, NAME_1 … */
  name: string;
  /** file name */
  source: string;
  format: ReadDocument["format"];
  title: string | null;
  /** 0 if the format has no pages */
  pages: number;
  characters: number;
}

/** A part of a document for one prompt. */
export interface DocumentChunk {
  name: string;
  text: string;
  tokens: number;
  /** the pages that it comes from; empty if the format has none */
  pages: number[];
}

/** The pairs of one chunk. */
export interface ChunkPairs {
  chunk: string;
  source: string;
  pages: number[];
  kept: RatedPair[];
  /** each with its reason */
  dropped: RatedPair[];
  /** replies that could not be read */
  unread: number;
}

/** Who writes and rates pairs: a model on this machine, or an OpenAI-compatible endpoint. The key is never stored. */
export type PairWriter =
  | { kind: "model"; model: ModelSource }
  | { kind: "endpoint"; url: string; model: string; key: string | null };

/** Sizes in tokens; null: the defaults, or less if the model has few positions. */
export interface PairSizes {
  max_seq_length: number | null;
  max_generation_tokens: number | null;
}

/** What to make of the documents. */
export interface PairsRequest extends PairSizes {
  writer: PairWriter;
  type: CreateType;
  /** most pairs of a chunk */
  num_pairs: number;
}

/** How to leave pairs out. Near-duplicates always go. */
export interface CurateRequest {
  writer: PairWriter;
  /** pairs rated below it are left out; null: no ratings */
  threshold: number | null;
  /** leave out answers that their chunk does not support */
  support: boolean;
}

/** Events while pairs are made or rated. `pairs`: made so far in this call. */
export type PairsEvent =
  | { type: "progress"; what: string; done: number; total: number | null }
  | { type: "replies"; stage: "create" | "curate" | "support"; done: number; total: number; pairs: number }
  | { type: "end"; asked: number; cached: number; unread: number };

/** Documents, and the pairs that a model makes of them, in storage. Work that was cut off continues with the same request. */
export interface DocumentTrainer {
  list(): Promise<{ documents: StoredDocument[]; pairs: ChunkPairs[] }>;
  /** Stores a document that the library's `readDocument` has read, and removes an earlier one of the same source. */
  add(document: ReadDocument, file: { sha256: string; bytes: number }): Promise<StoredDocument>;
  /** Removes a document with its pairs; without a name, all of them. */
  remove(name?: string): Promise<void>;
  /** The chunks of a document for a writer's tokenizer. Downloads no weights. */
  chunks(name: string, writer: PairWriter, sizes: PairSizes): Promise<DocumentChunk[]>;
  make(request: PairsRequest, options?: { signal?: AbortSignal }): Stream<PairsEvent>;
  curate(request: CurateRequest, options?: { signal?: AbortSignal }): Stream<PairsEvent>;
  /** Changes a pair by hand: other texts, or whether it is kept. @returns its chunk's pairs */
  change(chunk: string, pair: Pair, to: { pair: Pair } | { kept: boolean }): Promise<ChunkPairs>;
  /** The kept pairs as a JSONL file of conversations. @param metadata adds source, chunk, pages and rating to each row */
  rows(metadata: boolean): Promise<{ file: File; rows: number }>;
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
}

/**
 * `merged`: the whole model in 16 bits; `merged_4bit`: the same with linear layers in bitsandbytes' NF4; `gguf`: Q8_0, for
 * llama.cpp and Ollama.
 */
export type ExportKind = "adapter" | "merged" | "merged_4bit" | "gguf" | "report" | "recipe";

/** A file for the user to save. */
export interface ExportedFile {
  name: string;
  type: string;
  blob: Blob;
}

/** An async iterable. Leaving the loop stops the work at the next step boundary. */
export type Stream<T> = AsyncIterable<T>;

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
  };
  chat(request: ChatRequest, options?: { signal?: AbortSignal }): Stream<ChatEvent>;
  export(run: string, kind: ExportKind, options?: { signal?: AbortSignal }): Promise<ExportedFile>;
  /** Terminates the worker immediately. The last checkpoint is kept. */
  terminate(): void;
  /** resolves with a message when the worker dies or the GPU is lost */
  readonly lost: Promise<string>;
}

export type * from "./chat.ts";
export type * from "./rewards.ts";
export type { CompletionRecord, CreateType, LogRecord, Method, Pair, RatedPair, ReadDocument, SeenRows, SolvedProblem };
