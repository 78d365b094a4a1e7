// Forecasts a run's memory without allocating any, then refuses a run that does not fit: npx tsx examples/forecast.ts
import { checkForecast, parseRecipe, prepareSft, readRows, requestGpu } from "qwench";
import { nodeFolder, openAdapter } from "qwench/platform";

const { adapter, f16 } = await openAdapter();
const gpu = await requestGpu(adapter, { disable: f16 ? [] : ["f16"] });
for (const lora_r of [4, 64]) {
  const { recipe } = parseRecipe({ lora_r, max_steps: 1 }, "sft");
  const train = readRows(await nodeFolder("assets/tiny/problems").open("train.jsonl"));
  const { forecast } = await prepareSft(recipe, { gpu, model: nodeFolder("assets/tiny"), train });
  console.log(`rank ${lora_r}: ${forecast.trainable} parameters trained, peak ${forecast.peak} bytes`);
  try {
    checkForecast(forecast, 12e6);
    console.log("it fits");
  } catch (error) {
    console.log((error as Error).message);
  }
}
process.exit();
