// Trains the embedded model with two rewards, one of them defined here: npx tsx examples/grpo.ts [FOLDER] [STEPS]
import { type RewardFunction, train } from "qwench";

const [output = "example-grpo", steps = "2"] = process.argv.slice(2);

/** 1 for a completion with working: a line such as 5*7=35. */
const shows_working: RewardFunction = (_prompts, completions) =>
  completions.map((turns) => {
    const text = typeof turns === "string" ? turns : turns[0].content;
    return /\d+[-+*/]\d+=\d+/.test(text) ? 1 : 0;
  });

const run = train({
  method: "grpo",
  model: "assets/tiny",
  data: "assets/tiny/problems/train.jsonl",
  rewards: [shows_working],
  recipe: {
    reward_funcs: ["shows_working", "int_reward_func"],
    reward_weights: [1, 0.5],
    system_prompt: "Answer in XML.",
    lora_dropout: 0,
    max_steps: Number(steps),
    num_generations: 4,
    per_device_train_batch_size: 8,
    max_completion_length: 32,
    learning_rate: 3e-4,
    logging_steps: 1,
    save_strategy: "no",
  },
  output,
});
for await (const event of run) {
  if (event.type === "generated") {
    const best = event.records.reduce((a, b) => (b.advantage > a.advantage ? b : a));
    console.log(`best of ${event.records.length}: ${JSON.stringify(best.completion)}`);
  }
  if (event.type === "log") console.log(`step ${event.record.step}: reward ${event.record.reward.toFixed(3)}`);
}
process.exit();
