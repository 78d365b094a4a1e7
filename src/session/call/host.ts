import type { NumberedRow } from "../../data/row-error.ts";
import { UnsupportedError } from "../../errors.ts";
import type { Gpu } from "../../gpu/device.ts";
import type { Folder } from "../../io/storage.ts";
import type { GrpoRecipe, SftRecipe } from "../../recipe/recipe.ts";
import type { Environment } from "../../train/grpo/tools.ts";
import type { ImageAccess } from "../images.ts";
import type { RewardPlatform } from "../rewards.ts";
import type { TuningStore } from "../tune.ts";

/** What a call is doing: `done` of `total`, null if the total is not known. */
export interface CallProgress {
  type: "progress";
  /** such as `weights`, `rows`, or a file's name */
  what: string;
  done: number;
  total: number | null;
  unit: "bytes" | "rows" | "steps";
}

/** Receives progress. */
export type Report = (what: string, done: number, total: number | null, unit: CallProgress["unit"]) => void;

/** How long work is stopped and followed. */
export interface Following {
  signal: AbortSignal;
  report: Report;
}

/** Fields of a recipe that select and convert rows. */
export type RowFields = Pick<SftRecipe, "dataset_config"> &
  Partial<Pick<GrpoRecipe, "system_prompt" | "dataset_format" | "dataset_options">>;

/** An open adapter. */
export interface OpenedGpu {
  gpu: Gpu;
  /** the adapter's name */
  describe: string;
  /** bytes that a run may use; null: unknown */
  available: number | null;
}

/** What a runtime provides for training, evaluation, text and export in one call. */
export interface CallHost {
  /** Opens the best adapter, once: every call shares the device and the compiled kernels. */
  openGpu(): Promise<OpenedGpu>;
  /** A folder by its path, or by its name in the browser's storage. */
  folder(path: string): Folder;
  /** A model or adapter: a folder's path, or a hub id. @throws {NotFoundError} there is neither */
  model(name: string, revision: string, following: Following): Promise<Folder>;
  /** Rows of a data set that Qwench knows, of a file or folder, or of the hub. @param model its tokenizer may count */
  rows(
    name: string,
    split: string,
    fields: RowFields,
    model: Folder,
    following: Following,
  ): Promise<AsyncIterable<NumberedRow>>;
  /** Rows of a recipe's `datasets`. */
  mixture(datasets: readonly Readonly<Record<string, unknown>>[], following: Following): AsyncIterable<NumberedRow>;
  /** Whether evaluation rows come out of the training rows. @throws {RecipeError} both would be the same rows */
  splitsOwnRows(recipe: SftRecipe | GrpoRecipe): boolean;
  /** A chat template by its path. */
  chatTemplate(path: string, following: Following): Promise<string>;
  /** The functions of a module that the model may call, by its path. */
  environment(path: string): Promise<Environment & { close(): Promise<void> }>;
  /** The recipe of the embedded model, which is used without a model and rows; null: there is no such model here. */
  embedded(method: "sft" | "grpo" | "dpo", given: Readonly<Record<string, unknown>>): Record<string, unknown> | null;
  /** A folder of picked files. */
  files(name: string, files: readonly File[]): Folder;
  /** Qwench's version, for results */
  readonly version: string;
  readonly images: ImageAccess | null;
  readonly rewards: RewardPlatform;
  readonly tuning: TuningStore | null;
}

let host: CallHost | null = null;

/** Sets what this runtime provides. The package's entry for a runtime calls it. */
export function useHost(provided: CallHost): void {
  host = provided;
}

/** @throws {UnsupportedError} the entry in use provides nothing */
export function currentHost(): CallHost {
  if (host) return host;
  throw new UnsupportedError("Cannot open a model here: neither Node, Deno nor a browser was recognised");
}
