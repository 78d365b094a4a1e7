// Stops a run after two steps and continues from its checkpoint, with the same numbers: npx tsx examples/resume.ts
import {
  type Folder,
  type LogRecord,
  loadTraining,
  memoryFolder,
  parseRecipe,
  prepareTraining,
  readRows,
  requestGpu,
  runTraining,
} from "qwench";
import { nodeFolder, openAdapter } from "qwench/platform";

const { adapter, f16, waiting, spares } = await openAdapter();
const gpu = await requestGpu(adapter, { disable: f16 ? [] : ["f16"], waiting, spares });
const { recipe } = parseRecipe(
  {
    lora_dropout: 0,
    max_steps: 4,
    per_device_train_batch_size: 4,
    learning_rate: 1e-3,
    logging_steps: 1,
    save_strategy: "no",
  },
  "sft",
);

/** Trains until the end, or until `stopAfter` steps are done. @returns the losses by step */
async function run(output: Folder, resume: true | null, stopAfter: number): Promise<Map<number, number>> {
  const train = readRows(await nodeFolder("assets/tiny/problems").open("train.jsonl"));
  const sources = { gpu, model: nodeFolder("assets/tiny"), train };
  const training = await prepareTraining("sft", recipe, sources);
  const trainee = await loadTraining(training, sources, "assets/tiny");
  const stop = new AbortController();
  const losses = new Map<number, number>();
  try {
    for await (const event of runTraining(training, trainee, { output, resume, signal: stop.signal })) {
      if (event.type !== "log") continue;
      const { step, loss }: LogRecord = event.record;
      losses.set(step, loss);
      if (step >= stopAfter) stop.abort();
    }
  } catch (error) {
    if ((error as Error).name !== "AbortError") throw error; // a checkpoint was saved
  }
  await gpu.clear();
  return losses;
}

const whole = await run(memoryFolder(), null, Number.POSITIVE_INFINITY);
const output = memoryFolder();
const before = await run(output, null, 2);
const after = await run(output, true, Number.POSITIVE_INFINITY);
console.log("checkpoints:", (await output.folders()).join(", "));
for (const [step, loss] of whole) {
  const same = (before.get(step) ?? after.get(step)) === loss;
  console.log(`step ${step}: ${loss.toFixed(4)} ${same ? "the same" : "DIFFERENT"}`);
}
process.exit([...whole].every(([step, loss]) => (before.get(step) ?? after.get(step)) === loss) ? 0 : 1);
