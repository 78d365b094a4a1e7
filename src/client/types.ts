import type { Method } from "../recipe/field.ts";
import type { SolvedProblem } from "../session/evaluate.ts";
import type { CompletionRecord } from "../train/grpo/rollout.ts";
import type { LogRecord } from "../train/metrics.ts";

// What a page and its worker say to each other. Everything here can be cloned into another thread.

/** Where a model comes from. `files`: a folder that the user picked. `stored`: what storage.list() names. */
export type ModelSource =
  | { kind: "embedded" }
  | { kind: "hub"; id: string; revision?: string }
  | { kind: "files"; name: string; files: File[] }
  | { kind: "stored"; id: string };

/** Where rows come from. `columns` maps names that Qwench knows (prompt, question, answer, chosen, rejected, messages, text …) to the file's own. */
export type DataSource =
  | { kind: "embedded"; rows: "sft" | "prompts" | "preferences" }
  | { kind: "hub"; id: string; config?: string; split?: string; columns?: Record<string, string> }
  | { kind: "file"; file: File; columns?: Record<string, string> }
  | { kind: "stored"; id: string; columns?: Record<string, string> };

/** One training after another; each goes on from the adapter of the one before it. */
export interface Phase {
  method: Method;
  data: DataSource;
  /** fields of the recipe that differ from the defaults; model and data fields are taken from the job */
  recipe: Record<string, unknown>;
}

/** What to train. */
export interface Job {
  name: string;
  model: ModelSource;
  phases: Phase[];
  /** held-out problems to solve before, between and after the phases; null: none */
  evaluate: { data: DataSource; problems: number } | null;
}

/** What computes in the browser. */
export interface DeviceInfo {
  adapter: string;
  /** computes on the CPU: slow, works */
  software: boolean;
  /** what to do about it, or null */
  advice: string | null;
  features: { f16: boolean; subgroups: boolean };
  limits: { maxBufferSize: number; maxStorageBufferBindingSize: number };
}

/** A forecast of one phase, made before anything is allocated. */
export interface PhasePlan {
  method: Method;
  /** bytes, of the GPU */
  memory: { peak: number; byKind: Record<string, number> };
  trainable: number;
  parameters: number;
  rows: number;
  max_steps: number;
  notes: string[];
}

/** Whether a job can run. `problem`: why not, in a sentence for the user. */
export interface JobPlan {
  phases: PhasePlan[];
  fits: boolean;
  problem: string | null;
  /** bytes still to be downloaded; null where nobody can know yet */
  download: number | null;
}

/** How a model does on held-out problems. `stage`: base, or the name of the phase it comes after. */
export interface Evaluation {
  stage: "base" | Method;
  phase: number;
  accuracy: number;
  problems: SolvedProblem[];
}

/** What a run tells as it goes. Steps count from 1 within a phase. */
export type RunEvent =
  /** loading, downloading, compiling, drawing: `total` null where nobody can know */
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
  | { type: "generated"; phase: number; step: number; records: CompletionRecord[] }
  | { type: "evaluated"; evaluation: Evaluation }
  | { type: "checkpoint"; phase: number; step: number }
  | { type: "note"; text: string }
  | { type: "warning"; text: string }
  | { type: "end"; seconds: number };

/** Where a run stands. */
export type RunStatus = "ready" | "running" | "paused" | "stopped" | "failed" | "finished";

/** A run in the history; survives reload and crash. */
export interface RunSummary {
  id: string;
  name: string;
  /** milliseconds since 1970 */
  created: number;
  status: RunStatus;
  /** why it failed, or null */
  problem: string | null;
  phase: number;
  phases: { method: Method; max_steps: number | null; global_step: number }[];
  model: string;
  data: string;
  /** of the last evaluation, or null */
  accuracy: number | null;
}

/** All that is kept of a run beside its checkpoints. */
export interface RunRecord extends RunSummary {
  job: Job;
  /** recipes in full, as YAML, a phase each */
  recipes: string[];
  /** by phase */
  logs: LogRecord[][];
  /** of the newest generation batches */
  completions: { phase: number; step: number; records: CompletionRecord[] }[];
  evaluations: Evaluation[];
}

/** An entry of storage: a model, a data set, a run. */
export interface StoredItem {
  id: string;
  kind: "model" | "data" | "run";
  name: string;
  bytes: number;
  created: number | null;
}

/** What the browser keeps for this site. */
export interface StorageUsage {
  /** bytes */
  usage: number;
  quota: number;
  /** whether the browser has promised not to evict it */
  persisted: boolean;
  items: StoredItem[];
}

/** The first rows of a data set, and how its columns can be read. */
export interface DataPreview {
  columns: string[];
  /** cells as text, cut to some hundred characters */
  rows: string[][];
  /** the mapping that Qwench would take, or null with the reason */
  columnsTaken: Record<string, string> | null;
  problem: string | null;
  /** rows in all, where known */
  count: number | null;
}

/** A message of a chat. */
export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

/** A question to a model, with the chat before it. */
export interface ChatRequest {
  /** whose adapter; null: the model alone */
  run: string | null;
  model: ModelSource;
  /** false: the base, for comparison */
  adapter: boolean;
  messages: ChatMessage[];
  temperature?: number;
  top_p?: number;
  max_new_tokens?: number;
  seed?: number;
}

/** What a chat tells while it answers. */
export type ChatEvent =
  | { type: "progress"; what: string; done: number; total: number | null }
  /** whole characters, as they come */
  | { type: "text"; text: string }
  | { type: "end"; finish_reason: "stop" | "length"; tokens: number; seconds: number };

/** An option of a recipe, for a form; from the one table in recipe.ts. */
export interface FormField {
  name: string;
  group: string;
  type: "string" | "boolean" | "integer" | "number" | "choice" | "list" | "object" | "toggle";
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
  /** the model that it is made for; null: any */
  model: "embedded" | null;
  recipe: Record<string, unknown>;
}

/** `merged`: the whole model in 16 bits; `merged_4bit`: its linear layers in bitsandbytes' NF4; `gguf`: Q8_0, for llama.cpp and Ollama. */
export type ExportKind = "adapter" | "merged" | "merged_4bit" | "gguf" | "report" | "recipe";

/** A file to hand to the user. */
export interface ExportedFile {
  name: string;
  type: string;
  blob: Blob;
}

/** Async iterable that stops the work at the next step boundary when its iteration is left. */
export type Stream<T> = AsyncIterable<T>;

/** A trainer that lives in a worker: the page's main thread does no training work. */
export interface Trainer {
  /** @throws GpuError with what to do, where there is no WebGPU */
  device(): Promise<DeviceInfo>;
  recipe: {
    fields(method: Method): Promise<FormField[]>;
    presets(): Promise<Preset[]>;
    /** values or YAML → the fields that differ from the defaults, and notes; throws RecipeError */
    parse(
      input: Record<string, unknown> | string,
      method: Method,
    ): Promise<{ recipe: Record<string, unknown>; notes: string[] }>;
    format(recipe: Record<string, unknown>, method: Method): Promise<string>;
  };
  data: { preview(source: DataSource): Promise<DataPreview> };
  storage: {
    usage(): Promise<StorageUsage>;
    persist(): Promise<boolean>;
    remove(id: string): Promise<void>;
  };
  /**
   * Downloads what a job needs and keeps it; resumes what was cut.
   *
   * @param options.as what an id of the hub names; default: a data set where `split`, `config`, `columns` or `rows` is there
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
    /** Keeps a job; `start` runs it. @returns the run's id */
    create(job: Job): Promise<string>;
    /**
     * Starts a run, or goes on where its last checkpoint stands. Leaving the iteration pauses it with a checkpoint at the
     * next step boundary; so does `signal`.
     *
     * @throws {BusyError} another tab trains
     */
    start(id: string, options?: { signal?: AbortSignal }): Stream<RunEvent>;
    /** Ends a run that is not running where its last checkpoint stands: status "stopped"; adapter and history are kept. */
    stop(id: string): Promise<void>;
  };
  chat(request: ChatRequest, options?: { signal?: AbortSignal }): Stream<ChatEvent>;
  export(run: string, kind: ExportKind, options?: { signal?: AbortSignal }): Promise<ExportedFile>;
  /** Ends the worker at once. What the last checkpoint holds is kept. */
  terminate(): void;
  /** resolves, with a sentence, when the worker has died or the GPU was lost */
  readonly lost: Promise<string>;
}

export type { CompletionRecord, LogRecord, Method, SolvedProblem };
