import type { DataSource, Job, ModelSource } from "../../src/client/types.ts";
import type { GrpoRecipe, Method, SftRecipe } from "../../src/recipe/recipe.ts";
import { meansOf, type RunLengths } from "../../src/session/time-forecast.ts";
import type { Training } from "../../src/session/train.ts";
import type { MemoryForecast } from "../../src/train/forecast/memory.ts";
import { phaseRecipe } from "./recipes.ts";

/** What is remembered about a model: the fields of its config.json, and the bytes still to download. */
interface KnownModel {
  shape: Readonly<Record<string, unknown>>;
  missing: number;
}

/** The lengths of rows under one recipe. */
export interface KnownRows {
  /** tokens of each row; in DPO of both answers with their prompts */
  lengths: readonly number[];
  means: RunLengths;
}

interface Read extends KnownRows {
  /** the limit that rows were cut or left out at; null: none */
  limit: number | null;
}

/** Recipe fields that change the tokens of a row, apart from its limit. */
const OF_TOKENS = [
  ...(["system_prompt", "chat_template_kwargs", "eos_token", "dataset_text_field", "completion_only_loss"] as const),
  ...(["assistant_only_loss", "truncation_mode", "dataset_format", "dataset_options"] as const),
] as const;

/** Jobs whose rows are remembered. */
const MOST = 32;

/** Models and row lengths that forecasts have read, for the next forecast of a similar job. */
export class Known {
  private readonly models = new Map<string, KnownModel>();
  private readonly rows = new Map<string, Read>();
  private readonly memories = new Map<string, MemoryForecast>();

  model(source: ModelSource): KnownModel | null {
    return this.models.get(keyOf(source)) ?? null;
  }

  noteModel(source: ModelSource, known: KnownModel): void {
    this.models.set(keyOf(source), known);
  }

  /** The memory forecast of a phase, worked out once: an edit changes one phase, and not all of its fields matter. */
  async memory(key: string, make: () => Promise<MemoryForecast>): Promise<MemoryForecast> {
    const made = this.memories.get(key) ?? (await make());
    this.memories.delete(key); // the newest last
    this.memories.set(key, made);
    if (this.memories.size > MOST) this.memories.delete(this.memories.keys().next().value!);
    return made;
  }

  /** The files of a model may have been downloaded or deleted since. */
  forgetModels(): void {
    this.models.clear();
  }

  /** The rows of a phase, if they were read under a limit that tells what the phase's limit leaves of them. */
  find(job: Job, index: number): KnownRows | null {
    const read = this.rows.get(phaseKey(job, index));
    if (!read) return null;
    const { method, recipe } = phaseRecipe(job, index);
    const limit = limitOf(method, recipe as SftRecipe | GrpoRecipe);
    const most = limit ?? Number.POSITIVE_INFINITY;
    const longest = read.lengths.reduce((a, b) => Math.max(a, b), 0);
    const cut = method === "grpo" ? read.limit !== null : longest >= (read.limit ?? Number.POSITIVE_INFINITY);
    if (cut && most > read.limit!) return null; // how long they are beyond the old limit is unknown
    if (longest <= most || method === "dpo") return read;
    // prompts beyond the limit are left out, and rows are cut
    const kept = read.lengths
      .filter((length) => method !== "grpo" || length <= most)
      .map((length) => Math.min(length, most));
    const { labelled, row, patches } = read.means;
    const means = meansOf(kept.map((length) => [length, (labelled / row) * length] as const));
    return { lengths: kept, means: { ...means, patches } };
  }

  note(job: Job, index: number, training: Training, means: RunLengths): void {
    const lengths = lengthsIn(training);
    if (!lengths) return;
    const key = phaseKey(job, index);
    this.rows.delete(key); // the newest last
    this.rows.set(key, { lengths, means, limit: limitOf(training.method, training.recipe as SftRecipe | GrpoRecipe) });
    if (this.rows.size > MOST) this.rows.delete(this.rows.keys().next().value!);
  }
}

function limitOf(method: Method, recipe: SftRecipe | GrpoRecipe): number | null {
  return method === "grpo" ? (recipe as GrpoRecipe).max_prompt_length : (recipe as SftRecipe).max_length;
}

/** Tokens of each row; null: the rows are streamed. */
function lengthsIn(training: Training): number[] | null {
  if (training.method === "grpo") return training.prepared.data.train.map(({ prompt_ids }) => prompt_ids.length);
  if (training.method === "dpo") {
    return training.prepared.train.rows.map(
      ({ chosen, rejected }) => chosen.input_ids.length + rejected.input_ids.length,
    );
  }
  return training.prepared.train?.rows.map(({ input_ids }) => input_ids.length) ?? null;
}

/** Whatever the lengths of a phase's rows depend on, apart from the limit. */
function phaseKey(job: Job, index: number): string {
  const { method, recipe } = phaseRecipe(job, index);
  const fields = OF_TOKENS.map((name) => (recipe as Partial<SftRecipe>)[name as keyof SftRecipe] ?? null);
  const limit = method === "dpo" ? [(recipe as { max_length: number | null }).max_length] : [];
  const { evaluate } = job;
  return JSON.stringify([
    keyOf(job.model),
    keyOf(job.phases[index].data),
    method,
    fields,
    limit,
    evaluate && [keyOf(evaluate.data), evaluate.problems],
  ]);
}

/** A source by its content, as far as that can be told without reading it. */
function keyOf(source: ModelSource | DataSource): string {
  const file = ({ name, size, lastModified }: File) => [name, size, lastModified];
  if (source.kind === "files") return JSON.stringify([source.kind, source.name, source.files.map(file)]);
  if (source.kind === "file") return JSON.stringify([source.kind, file(source.file), source.columns ?? null]);
  return JSON.stringify(source);
}
