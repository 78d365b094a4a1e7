import type { NumberedRow } from "../../../src/data/rows.ts";
import type { Gpu } from "../../../src/gpu/device.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import type { Folder } from "../../../src/io/storage.ts";
import { type DpoRecipe, parseRecipe } from "../../../src/recipe/recipe.ts";
import { type DpoEvent, dpo, loadDpo, type PreparedDpo, prepareDpo } from "../../../src/session/dpo.ts";
import type { Trainee } from "../../../src/train/checkpoint.ts";
import type { LogRecord } from "../../../src/train/metrics.ts";
import { integers, tinyModel } from "../fixtures.ts";

/** Random pairs of tokens of a tiny vocabulary. */
export function pairRows(count: number, seed = 3): NumberedRow[] {
  const next = integers(seed);
  const ids = (least: number, more: number) => Array.from({ length: least + next(more) }, () => next(256));
  return Array.from({ length: count }, (_, i) => ({
    row: { prompt_ids: ids(2, 6), chosen_ids: ids(2, 9), rejected_ids: ids(2, 9) },
    number: i + 1,
    file: "pairs.jsonl",
  }));
}

/** A recipe for quick runs: every step logged, nothing saved but what is asked for. */
export const dpoRecipe = (values: Record<string, unknown> = {}): DpoRecipe =>
  parseRecipe(
    {
      per_device_train_batch_size: 3,
      max_steps: 6,
      logging_steps: 1,
      save_strategy: "no",
      learning_rate: 1e-2,
      lora_r: 4,
      output_dir: "out",
      ...values,
    },
    "dpo",
  ).recipe;

interface Run {
  recipe: DpoRecipe;
  model?: Folder;
  adapter?: Folder | null;
  rows?: NumberedRow[];
  evalRows?: NumberedRow[] | null;
  output?: Folder;
  resume?: true | null;
  onEvent?: (event: DpoEvent) => boolean;
}

interface Result {
  prepared: PreparedDpo;
  trainee: Trainee;
  output: Folder;
  logs: LogRecord[];
  evals: LogRecord[];
}

/** Runs a recipe to its end, or until `onEvent` says so. */
export async function train(gpu: Gpu, run: Run): Promise<Result> {
  const { recipe, output = memoryFolder("out"), resume = null } = run;
  const model = run.model ?? (await tinyModel());
  const sources = { gpu, model, adapter: run.adapter, train: run.rows ?? pairRows(14), eval: run.evalRows };
  const prepared = await prepareDpo(recipe, sources);
  const trainee = await loadDpo(recipe, prepared, sources, "tiny");
  const events: DpoEvent[] = [];
  for await (const event of dpo(trainee, prepared.data, recipe, { output, resume })) {
    events.push(event);
    if (run.onEvent?.(event)) break;
  }
  await gpu.settle();
  const records = (type: "log" | "eval") => events.flatMap((event) => (event.type === type ? [event.record] : []));
  return { prepared, trainee, output, logs: records("log"), evals: records("eval") };
}
