// Stops a run after two steps and continues from its checkpoint, with the same numbers: npx tsx examples/resume.ts
import { type Folder, memoryFolder, train } from "qwench";

/** Trains to the end, or until `stopAfter` steps are done. @returns the losses by step */
async function run(output: Folder, resume: boolean, stopAfter: number): Promise<Map<number, number>> {
  const losses = new Map<number, number>();
  const stop = new AbortController();
  const events = train({
    method: "sft",
    model: "assets/tiny",
    data: "assets/tiny/problems/train.jsonl",
    recipe: {
      lora_dropout: 0,
      max_steps: 4,
      per_device_train_batch_size: 4,
      learning_rate: 1e-3,
      logging_steps: 1,
      save_strategy: "no",
    },
    output,
    resume,
    signal: stop.signal,
  });
  try {
    for await (const event of events) {
      if (event.type !== "log") continue;
      losses.set(event.record.step, event.record.loss);
      if (event.record.step >= stopAfter) stop.abort();
    }
  } catch (error) {
    if ((error as Error).name !== "AbortError") throw error; // a checkpoint was saved
  }
  return losses;
}

const whole = await run(memoryFolder(), false, Number.POSITIVE_INFINITY);
const output = memoryFolder();
const before = await run(output, false, 2);
const after = await run(output, true, Number.POSITIVE_INFINITY);
console.log("checkpoints:", (await output.folders()).join(", "));
for (const [step, loss] of whole) {
  const same = (before.get(step) ?? after.get(step)) === loss;
  console.log(`step ${step}: ${loss.toFixed(4)} ${same ? "the same" : "DIFFERENT"}`);
}
process.exit([...whole].every(([step, loss]) => (before.get(step) ?? after.get(step)) === loss) ? 0 : 1);
