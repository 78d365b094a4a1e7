// The long way: the parts of train() by themselves, for programs that need one of them. npx tsx examples/long-way.ts [FOLDER] [STEPS]
import { loadSft, parseRecipe, prepareSft, readRows, requestGpu, sft } from "qwench";
import { nodeFolder, openAdapter } from "qwench/platform";

const [output = "example-adapter", steps = "8"] = process.argv.slice(2);
const { adapter, f16, waiting, spares } = await openAdapter();
const gpu = await requestGpu(adapter, { disable: f16 ? [] : ["f16"], waiting, spares });

const { recipe } = parseRecipe(
  {
    lora_r: 16,
    lora_alpha: 32,
    lora_dropout: 0,
    max_steps: Number(steps),
    per_device_train_batch_size: 16,
    learning_rate: 2e-3,
    logging_steps: 1,
    save_strategy: "no",
  },
  "sft",
);
const model = nodeFolder("assets/tiny");
const train = readRows(await nodeFolder("assets/tiny/problems").open("train.jsonl"));
const sources = { gpu, model, train };

const prepared = await prepareSft(recipe, sources);
console.log(`${prepared.rows} rows, forecast ${(prepared.forecast.peak / 1e6).toFixed(1)} MB`);
const trainee = await loadSft(recipe, prepared, sources, "assets/tiny");
for await (const event of sft(trainee, prepared.data, recipe, { output: nodeFolder(output), resume: null })) {
  if (event.type === "log") console.log(`step ${event.record.step}: loss ${event.record.loss.toFixed(3)}`);
}
console.log(`Adapter: ${output}`);
process.exit(); // Dawn keeps the process alive
