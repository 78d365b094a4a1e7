// Fine-tunes the embedded model on its own examples and writes a PEFT adapter: npx tsx examples/sft.ts [FOLDER] [STEPS]
import { train } from "qwench";

const [output = "example-adapter", steps = "8"] = process.argv.slice(2);
const run = train({
  method: "sft",
  model: "assets/tiny", // or a hub id, such as Qwen/Qwen2.5-0.5B-Instruct
  data: "assets/tiny/problems/train.jsonl",
  recipe: {
    lora_r: 16,
    lora_alpha: 32,
    max_steps: Number(steps),
    per_device_train_batch_size: 16,
    learning_rate: 2e-3,
    logging_steps: 1,
    save_strategy: "no",
  },
  output,
});
for await (const event of run) {
  if (event.type === "plan") console.log(`${event.rows} rows, forecast ${(event.forecast.peak / 1e6).toFixed(1)} MB`);
  if (event.type === "log") console.log(`step ${event.record.step}: loss ${event.record.loss.toFixed(3)}`);
}
console.log(`Adapter: ${output}`);
process.exit(); // Dawn keeps the process alive
