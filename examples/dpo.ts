// The embedded model learns to prefer worked answers to guesses: npx tsx examples/dpo.ts [FOLDER] [STEPS]
import { dpo, loadDpo, parseRecipe, prepareDpo, readRows, requestGpu } from "qwench";
import { nodeFolder, openAdapter } from "qwench/platform";

const [output = "example-dpo", steps = "8"] = process.argv.slice(2);
const { adapter, f16, waiting, spares } = await openAdapter();
const gpu = await requestGpu(adapter, { disable: f16 ? [] : ["f16"], waiting, spares });

const { recipe } = parseRecipe(
  {
    loss_type: "sigmoid",
    beta: 0.1,
    max_steps: Number(steps),
    per_device_train_batch_size: 16,
    learning_rate: 2e-3,
    logging_steps: 1,
    eval_strategy: "steps",
    eval_steps: Number(steps),
    save_strategy: "no",
  },
  "dpo",
);
const rows = async (name: string) => readRows(await nodeFolder("assets/tiny/preferences").open(name));
const sources = {
  gpu,
  model: nodeFolder("assets/tiny"),
  train: await rows("train.jsonl"),
  eval: await rows("test.jsonl"),
};

const prepared = await prepareDpo(recipe, sources);
const trainee = await loadDpo(recipe, prepared, sources, "assets/tiny");
for await (const event of dpo(trainee, prepared.data, recipe, { output: nodeFolder(output), resume: null })) {
  if (event.type === "step")
    console.log(`step ${event.step}: loss ${event.loss.toFixed(3)}, margin ${event.margin.toFixed(3)}`);
  if (event.type === "eval")
    console.log(`held out: ${(100 * event.record["eval_rewards/accuracies"]).toFixed(0)} % preferred`);
}
process.exit(); // Dawn keeps the process alive
