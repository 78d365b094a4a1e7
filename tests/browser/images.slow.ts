import { expect, test } from "vitest";
import type { Job, RunEvent } from "../../src/client.ts";
import { nodeImages } from "../../src/platform/node/image-files.ts";
import { Conversation } from "../../src/session/chat.ts";
import { loadText, prepareText, respond, settingsOf } from "../../src/session/generate.ts";
import { Images } from "../../src/session/images.ts";
import { ownGpu } from "../gpu/open.ts";
import { grey, seeingModel } from "../images.ts";
import { askPage, base64, QUESTION, stripes, useSeeingPage } from "./seeing.ts";
import { QUICK, start } from "./trainer.ts";

const page = useSeeingPage();

/** The same answer in Node. */
async function askNode(png: Uint8Array): Promise<string> {
  const sources = { gpu: await ownGpu(), model: await seeingModel(), vision: true };
  const text = await loadText(await prepareText(sources), sources);
  const images = (await Images.open(nodeImages(), text.checkpoint, text.config))!;
  const messages = [{ role: "user", content: [{ type: "image", bytes: png }] }];
  const row = await images.row({ row: { messages }, number: 1, file: "rows" });
  const chat = new Conversation(text, null);
  const { ids } = chat.ask(QUESTION, 8, row.images!.map((image) => ({ name: "image", image }))); // biome-ignore format: one call
  const prompt = { prompt_ids: ids, images: await images.seen(text.model, row) };
  const settings = settingsOf(text.defaults, { temperature: 0, max_new_tokens: 8 }, 0);
  let said = "";
  for await (const event of respond(text, [prompt], settings)) if (event.type === "text") said += event.text;
  return said;
}

test("a chat answers about an image as Node does, and differently without it", async () => {
  const seen = await askPage(page(), [stripes]);
  expect(seen).toBe(await askNode(stripes));
  expect(await askPage(page(), [])).not.toBe(seen);
});

test("a run on rows with images solves held-out rows with them, and its record has their pictures", async () => {
  const url = (bytes: Uint8Array) => `data:image/png;base64,${base64(bytes)}`;
  const row = (image: Uint8Array, answer: string) => ({
    images: [url(image)],
    messages: [
      { role: "user", content: QUESTION },
      { role: "assistant", content: answer },
    ],
  });
  const dark = row(grey(32, 32, 30), "3");
  const lines = [dark, row(grey(32, 24, 220), "5"), row(stripes, "7"), dark].map((one) => `${JSON.stringify(one)}\n`);
  const made = await page().evaluate(
    async (lines, recipe) => {
      const { seeing: model } = globalThis as unknown as { seeing: Job["model"] };
      const data = { kind: "file" as const, file: new File(lines, "lines.jsonl") };
      const job: Job = {
        name: "Reading",
        model,
        phases: [{ method: "sft", data, recipe }],
        evaluate: { data, problems: 2 },
      };
      const { columnsTaken, problem, rows } = await trainer.data.preview(data);
      return { id: await trainer.runs.create(job), columnsTaken, problem, cell: rows[0].at(-1) };
    },
    lines,
    { ...QUICK.sft, max_steps: 2, max_length: null, lora_target_modules: ["all-linear"] },
  );
  expect(made).toMatchObject({ columnsTaken: { messages: "messages" }, problem: null });
  expect(made.cell).toBe(`user: ${QUESTION}\nassistant: 3`);
  const { events, error } = await start(page(), made.id);
  expect(error).toBeNull();
  const evaluated = events.filter(
    (event): event is Extract<RunEvent, { type: "evaluated" }> => event.type === "evaluated",
  );
  expect(evaluated.map(({ evaluation }) => evaluation.stage)).toEqual(["base", "sft"]);
  const record = await page().evaluate((id) => trainer.runs.get(id), made.id);
  const problems = record.evaluations[1].problems;
  expect(problems).toMatchObject([
    { question: QUESTION, gold: "3" },
    { question: QUESTION, gold: "5" },
  ]);
  expect(problems[0].images![0]).not.toBe(problems[1].images![0]);
  for (const { images } of problems) expect(record.pictures![images![0]]).toMatch(/^data:image\/(webp|png);base64,/);
  const { items } = await page().evaluate(() => trainer.storage.usage());
  expect(items.find(({ id }) => id === "features")?.bytes).toBeGreaterThan(0);
});
