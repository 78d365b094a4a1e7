import { type CheckpointSpec, SPECS } from "../../scripts/random-checkpoint.ts";
import { embeddedRecipe } from "../../src/cli/sources/embedded.ts";
import { embeddedModelFolder } from "../../src/cli/sources/embedded-folder.ts";
import type { NumberedRow } from "../../src/data/rows.ts";
import { embeddedRows } from "../../src/data/sets/embedded.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import type { Folder } from "../../src/io/storage.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { type GrpoRecipe, parseRecipe } from "../../src/recipe/recipe.ts";
import { rewardNamed } from "../../src/rewards/registry.ts";
import { medianStep } from "../../src/session/device-times.ts";
import { measureRates } from "../../src/session/measure.ts";
import { forecastTime, type TimeInput, timeInputOf } from "../../src/session/time-forecast.ts";
import { loadTraining, prepareTraining, runTraining } from "../../src/session/train.ts";
import { tinyModel, tinyRows } from "../train/fixtures.ts";

/** Two layers of Qwen2.5-0.5B's true width, over a vocabulary of 4096 that random rows can name. */
const HALF: CheckpointSpec = { ...SPECS["qwen2.5-0.5b"], num_hidden_layers: 2, vocab_size: 4096 };

/** A run whose steps are timed. */
interface TimedRun {
  name: string;
  method: "sft" | "grpo";
  recipe: Record<string, unknown>;
  model(): Promise<Folder>;
  rows: NumberedRow[];
  /** tokens of a completion, as the page knows them from the phase before */
  completion?: number;
}

const numbered = (rows: readonly object[]): NumberedRow[] =>
  rows.map((row, i) => ({ row: row as NumberedRow["row"], number: i + 1, file: "rows.jsonl" }));
const embedded = async () => nodeFolder(embeddedModelFolder());
/** Mean tokens of the answers that the demo's first phase teaches. */
const TAUGHT = 26;

/** The demo's two phases with fewer steps, and 20 steps at the widths of Qwen2.5-0.5B. */
export const TIMED_RUNS: readonly TimedRun[] = [
  {
    name: "the demo's SFT",
    method: "sft",
    recipe: { ...embeddedRecipe("sft"), max_steps: 12 },
    model: embedded,
    rows: numbered(embeddedRows("train")),
  },
  {
    name: "the demo's GRPO",
    method: "grpo",
    recipe: { ...embeddedRecipe("grpo"), max_steps: 5 },
    model: embedded,
    rows: numbered(embeddedRows("train")),
    completion: TAUGHT,
  },
  {
    name: "20 steps at 0.5B's widths",
    method: "sft",
    recipe: { per_device_train_batch_size: 2, max_steps: 20, learning_rate: 1e-4, save_strategy: "no" },
    model: () => tinyModel(HALF),
    rows: tinyRows(40, { shortest: 24, longest: 40, vocab: 4096 }),
  },
];

/** Seconds of a step: forecast before and after the run, and the median that it took. */
interface StepTimes {
  before: number;
  taken: number;
  after: number;
}

/** Forecasts a step of a run, times the run, and forecasts the step again, by the clock `performance.now`. */
export async function timeRun(gpu: Gpu, run: TimedRun): Promise<StepTimes> {
  const own = gpu.again();
  try {
    const fields = parseRecipe({ ...run.recipe, logging_steps: 1, save_strategy: "no" }, run.method);
    const recipe = fields.recipe as never;
    const { reward_funcs } = fields.recipe as Partial<GrpoRecipe>;
    const rewards = (reward_funcs ?? []).map((name) => rewardNamed(name));
    const sources = { gpu: own, model: await run.model(), train: run.rows, rewards };
    const training = await prepareTraining(run.method, recipe, sources);
    const input = { ...(await timeInputOf(training)), completion: run.completion ?? null };
    const before = await forecastStep(gpu, input);
    const trainee = await loadTraining(training, sources, "base");
    const seconds: number[] = [];
    let last = performance.now();
    for await (const event of runTraining(training, trainee, { output: memoryFolder("out"), resume: null })) {
      if (event.type !== "step") continue;
      seconds.push((performance.now() - last) / 1000);
      last = performance.now();
    }
    return { before, taken: medianStep(seconds)!, after: await forecastStep(gpu, input) };
  } finally {
    await own.clear();
  }
}

async function forecastStep(gpu: Gpu, input: TimeInput): Promise<number> {
  const rates = await measureRates(gpu.again(), "narrow");
  return forecastTime(input, [rates!]).step;
}
