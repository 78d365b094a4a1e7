// The embedded model learns to prefer worked answers to guesses: npx tsx examples/dpo.ts [FOLDER] [STEPS]
import { train } from "qwench";

const [output = "example-dpo", steps = "8"] = process.argv.slice(2);
const run = train({
  method: "dpo",
  model: "assets/tiny",
  data: "assets/tiny/preferences/train.jsonl",
  eval: "assets/tiny/preferences/test.jsonl",
  recipe: {
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
  output,
});
for await (const event of run) {
  if (event.type === "step")
    console.log(`step ${event.step}: loss ${event.loss.toFixed(3)}, margin ${event.margin.toFixed(3)}`);
  if (event.type === "eval")
    console.log(`held out: ${(100 * event.record["eval_rewards/accuracies"]).toFixed(0)} % preferred`);
}
process.exit(); // Dawn keeps the process alive
