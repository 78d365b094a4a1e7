import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sampleRows } from "../../data/sets/dry-run-rows.ts";
import { embeddedPreferences } from "../../data/sets/embedded.ts";
import { DATA_SETS } from "../../data/sets/registry.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import {
  type GrpoRecipe,
  type Method,
  nearestName,
  type ParsedRecipe,
  parseRecipe,
  type Recipe,
  type SftRecipe,
  sameValue,
} from "../../recipe/recipe.ts";
import { renderTable } from "../../text/tables.ts";
import { type CliFlag, type ParsedArgs, UsageError } from "../args.ts";
import { describeForecast, longestAsked, shapeOf } from "../commands/recipe.ts";
import { forecastTable } from "../runs/prepare.ts";
import { embeddedModelFolder } from "./embedded-folder.ts";
import { publishedRecipe } from "./published.ts";
import { writeTinyModel } from "./tiny-model.ts";

export const DRY_RUN_FLAG: CliFlag = {
  name: "dry_run",
  type: "string",
  value: "tiny",
  help: "tiny: forecast the recipe's memory from its model's true shape, then run two steps with sample rows on a small random model of the same architecture. Works offline and keeps nothing unless output_dir is given.",
};

const STEPS = 2;
const MOST = { tokens: 256, completion: 16, generations: 4, rows: 2, passes: 2 };

type Reduced = Record<string, unknown>;

/**
 * `--dry_run tiny`: prints a recipe's forecast and runs two steps of it at a reduced shape of its model.
 *
 * Rewards, optimizer, schedule, LoRA targets and loss stay unchanged; every reduction is printed. A local server replaces a
 * judge and gives every completion the same score.
 *
 * @param train runs a recipe
 * @returns the exit code
 */
export async function dryRun<M extends Method>(
  { flags, overrides }: ParsedArgs,
  method: M,
  { recipe, notes }: ParsedRecipe<M>,
  train: (tiny: ParsedRecipe<M>) => Promise<number>,
): Promise<number> {
  if (flags.dry_run !== "tiny") {
    const near = nearestName(String(flags.dry_run), ["tiny"]);
    throw new UsageError(`--dry_run must be tiny, got ${flags.dry_run}${near ? `: did you mean ${near}?` : ""}`);
  }
  const both = recipe as SftRecipe | GrpoRecipe;
  const rows = method === "dpo" ? embeddedPreferences("train", 64) : sampleRows(setOf(both));
  const image = typeof flags.recipe === "string" ? (publishedRecipe(flags.recipe).image ?? null) : null;
  const { forecast, text } = await describeForecast(recipe, method, {
    longest: longestAsked(overrides, method) ?? longestOf(flags.recipe, recipe, method),
    image,
  });
  console.error(`${text}\n\n${forecastTable({ forecast })}`);

  const folder = mkdtempSync(join(tmpdir(), "qwench-dry-run-"));
  const judge = (both as GrpoRecipe).reward_funcs?.includes("judge") ? await standIn(both as GrpoRecipe) : null;
  try {
    const data = nodeFolder(folder);
    await writeTinyModel(data.folder("model"), shapeOf(both, image !== null), nodeFolder(embeddedModelFolder()));
    await data.write("train.jsonl", rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    const reduced = {
      ...reduce(both),
      ...(method === "grpo" ? reduceGrpo(both as GrpoRecipe) : reduceSft(both as SftRecipe)),
    };
    const changed = Object.entries(reduced).filter(([name, value]) => !sameValue(value, (both as Reduced)[name]));
    console.error(`${describeReduced(both, changed)}\n`);
    const places = {
      model_name_or_path: join(folder, "model"),
      dataset_name: join(folder, "train.jsonl"),
      datasets: null,
      ...(method !== "dpo" && {
        dataset_format:
          both.dataset_format ?? (Object.hasOwn(DATA_SETS, both.dataset_name ?? "") ? both.dataset_name : null),
      }),
      ...("output_dir" in overrides ? {} : { output_dir: join(folder, "out") }),
      ...(judge && { judge_url: judge.url, judge_cache: null }),
    };
    const tiny = parseRecipe({ ...both, ...reduced, ...places }, method);
    if (judge) console.error(`judge: replaced by a local stand-in that scores every completion ${judge.score}`);
    const code = await train({ recipe: tiny.recipe, notes: [...new Set([...notes, ...tiny.notes])] });
    if (code === 0) {
      console.error(
        "output_dir" in overrides
          ? "That was a dry run: the saved files belong to a small random model."
          : "That was a dry run: its model and output are deleted.",
      );
    }
    return code;
  } finally {
    judge?.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The data set of a recipe, or the first of its mixture. */
function setOf({ dataset_name, datasets }: SftRecipe | GrpoRecipe): string | null {
  const first = datasets?.[0].path;
  return dataset_name ?? (typeof first === "string" ? first : null);
}

/** Tokens of the longest row or prompt that the forecast assumes. */
function longestOf<M extends Method>(named: unknown, recipe: Recipe<M>, method: M): number {
  if (typeof named === "string") return publishedRecipe(named).longest;
  if (method === "grpo") return (recipe as GrpoRecipe).max_prompt_length ?? 512;
  return (recipe as SftRecipe).max_length ?? 1024;
}

const atMost = (value: number, most: number) => Math.min(value, most);

/** Reductions for all methods. */
function reduce(recipe: SftRecipe | GrpoRecipe): Reduced {
  const { dataset_options: options, eval_strategy, save_strategy } = recipe;
  const shares = options?.shares as Record<string, number> | undefined;
  const sides = Object.keys(shares ?? {});
  return {
    max_steps: STEPS,
    logging_steps: 1,
    ...(eval_strategy === "steps" && { eval_steps: 1 }),
    ...(save_strategy === "steps" && { save_steps: 1 }),
    ...(shares && {
      dataset_options: { ...options, shares: Object.fromEntries(sides.map((side) => [side, 1 / sides.length])) },
    }),
    adapter_name_or_path: null,
    chat_template_path: null,
    eval_dataset_name: null,
    // all sample rows are in one file
    test_split_size: eval_strategy !== "no" && !shares ? 1 : null,
    resume_from_checkpoint: null,
  };
}

function reduceSft(recipe: SftRecipe): Reduced {
  return {
    // a cut could fall into an image
    ...(recipe.max_length !== null && { max_length: atMost(recipe.max_length, MOST.tokens) }),
    per_device_train_batch_size: atMost(recipe.per_device_train_batch_size, MOST.rows),
    per_device_eval_batch_size: atMost(recipe.per_device_eval_batch_size, MOST.rows),
    gradient_accumulation_steps: atMost(recipe.gradient_accumulation_steps, MOST.passes),
  };
}

/** Keeps groups whole: a batch divides a group, and more passes compensate. */
function reduceGrpo(recipe: GrpoRecipe): Reduced {
  const group = atMost(recipe.num_generations, MOST.generations);
  let batch = atMost(recipe.per_device_train_batch_size, group);
  while (group % batch !== 0) batch--;
  const passes = batch === group ? atMost(recipe.gradient_accumulation_steps, MOST.passes) : group / batch;
  return {
    num_generations: group,
    num_generations_eval: null,
    per_device_train_batch_size: batch,
    per_device_eval_batch_size: group,
    gradient_accumulation_steps: passes,
    generation_batch_size: null,
    steps_per_generation: null,
    max_prompt_length: null,
    max_completion_length: atMost(recipe.max_completion_length, MOST.completion),
  };
}

function describeReduced(recipe: SftRecipe | GrpoRecipe, changed: readonly [string, unknown][]): string {
  const told = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value));
  const rows = changed.map(([name, value]) => [name, told((recipe as Reduced)[name]), told(value)]);
  const model = [
    "model",
    recipe.model_name_or_path,
    "two random layers of the same architecture, with the embedded model's tokenizer",
  ];
  const data = ["rows", setOf(recipe), "sample rows with its columns"];
  return renderTable(
    ["reduced", "recipe", "dry run"].map((heading) => ({ heading })),
    [model, data, ...rows],
  );
}

/** A judge that gives every completion the same score, the middle of the recipe's range. */
async function standIn({ judge_score_min: least, judge_score_max: most }: GrpoRecipe) {
  const score = Math.round((least + most) / 2);
  const content = JSON.stringify({
    choices: [{ message: { role: "assistant", content: `Score: ${score}` } }],
    usage: { prompt_tokens: 0, completion_tokens: 0 },
  });
  const server = createServer((request, response) => {
    request.resume();
    request.on("end", () => response.writeHead(200, { "content-type": "application/json" }).end(content));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/v1`, score, close: () => void server.close() };
}
