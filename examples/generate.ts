// Writes text: streams one answer, then writes several at once. npx tsx examples/generate.ts [ADAPTER]
import { generate } from "qwench";

const [adapter] = process.argv.slice(2);
const model = { model: "assets/tiny", ...(adapter && { adapter }) };

const prompt = "Ann has 9 pens and gives 2 away. How many pens are left?";
for await (const event of generate({ ...model, prompt, temperature: 0.8, max_new_tokens: 32, seed: 1 })) {
  if (event.type === "text") process.stdout.write(event.text);
  if (event.type === "response") console.log(`\n(${event.made.ids.length} tokens, ${event.made.finish_reason})`);
}

const questions = [
  "Tom has 3 apples and buys 4 more. How many apples does Tom have?",
  "Zoe has 5 cups and breaks 2. How many are left?",
];
for await (const event of generate({ ...model, prompt: questions, temperature: 0.8, max_new_tokens: 32, n: 2 })) {
  if (event.type === "response") console.log(`${questions[event.prompt]} → ${JSON.stringify(event.made.text)}`);
}
process.exit();
