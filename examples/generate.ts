// Writes text: streams one answer, then writes several at once. npx tsx examples/generate.ts [ADAPTER]
import { answerTo, Conversation, loadText, prepareText, promptOf, requestGpu, respond, settingsOf } from "qwench";
import { nodeFolder, openAdapter } from "qwench/platform";

const [folder] = process.argv.slice(2);
const { adapter, f16, waiting, spares } = await openAdapter();
const gpu = await requestGpu(adapter, { disable: f16 ? [] : ["f16"], waiting, spares });
const sources = { gpu, model: nodeFolder("assets/tiny"), adapter: folder ? nodeFolder(folder) : null };
const text = await loadText(await prepareText(sources), sources);

const settings = { ...settingsOf(text.defaults, { temperature: 0.8 }, 1), max_new_tokens: 32 };
const talk = new Conversation(text, null);
const { ids } = talk.ask("Ann has 9 pens and gives 2 away. How many pens are left?", settings.max_new_tokens);
for await (const event of answerTo(text, ids, settings)) {
  if (event.type === "text") process.stdout.write(event.text);
  else console.log(`\n(${event.tokens} tokens, ${event.finish_reason})`);
}

const questions = [
  "Tom has 3 apples and buys 4 more. How many apples does Tom have?",
  "Zoe has 5 cups and breaks 2. How many are left?",
];
const prompts = questions.map((prompt, i) => promptOf(text, { row: { prompt }, number: i + 1, file: "questions" }));
for await (const event of respond(text, prompts, { ...settings, n: 2 })) {
  if (event.type === "response") console.log(`${questions[event.prompt]} → ${JSON.stringify(event.made.text)}`);
}
process.exit();
