import { beforeAll, expect, it } from "vitest";
import { readFonts } from "../../scripts/ocr/fonts.ts";
import { drawRows, type OcrSet } from "../../scripts/ocr/rows.ts";
import { writeTinyVision } from "../../scripts/tiny-vision.ts";
import type { NumberedRow } from "../../src/data/rows.ts";
import { ocrScores } from "../../src/eval/ocr.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import type { Folder } from "../../src/io/storage.ts";
import { nodeImages } from "../../src/platform/node/image-files.ts";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import { loadText, prepareText, promptOf, respond, settingsOf } from "../../src/session/generate.ts";
import { Images, imagesFrom } from "../../src/session/images.ts";
import { loadTraining, prepareTraining, runTraining } from "../../src/session/train.ts";
import { useGpu } from "../kernels/harness.ts";

const device = useGpu();

const QUESTION = "?";
/** A digit in four fonts, in colours, turned, with noise, on 16 × 16 pixels: one token for the model. */
const SET: OcrSet = {
  text: (random) => String(Math.floor(10 * random())),
  fonts: readFonts().slice(-4),
  style: { size: [13, 16], rotation: 2, noise: 0.04, canvas: [16, 16] },
  rows: 12_800,
  test: 0,
  question: QUESTION,
  seed: 0,
};
const RECIPE = {
  use_peft: false,
  dtype: "float32",
  max_length: null,
  per_device_train_batch_size: 64,
  max_steps: 450,
  learning_rate: 1e-3,
  lr_scheduler_type: "cosine",
  warmup_steps: 50,
  adam_beta2: 0.99,
  weight_decay: 0.01,
  logging_steps: 25,
  save_strategy: "no",
  output_dir: "out",
};

let rows: { train: ReturnType<typeof drawRows>["train"]; test: ReturnType<typeof drawRows>["train"] };
let model: Folder;
beforeAll(async () => {
  // the same ten texts, drawn anew
  rows = { train: drawRows(SET).train, test: drawRows({ ...SET, rows: 128, seed: 1 }).train };
  model = memoryFolder("tiny");
  expect(await writeTinyVision(model, 1)).toBeLessThan(2e6);
});

const asked = (png: Uint8Array) => [
  { role: "user", content: [{ type: "image", bytes: png }, { type: "text", text: QUESTION }] }, // biome-ignore format: a turn
];

it("a tiny Qwen3.5 learns to read digits from nothing, all weights with the tower", async () => {
  const train = rows.train.map(({ text, png }, i): NumberedRow => {
    const row = { prompt: asked(png), completion: [{ role: "assistant", content: text }] };
    return { row, number: i + 1, file: "train.jsonl" };
  });
  const { recipe } = parseRecipe(RECIPE, "sft");
  const sources = { gpu: device(), model, train, images: imagesFrom(nodeImages()) };
  const training = await prepareTraining("sft", recipe, sources);
  const trainee = await loadTraining(training, sources, "tiny");
  const output = memoryFolder("out");
  const began = performance.now();
  for await (const event of runTraining(training, trainee, { output, resume: null })) {
    if (event.type !== "log") continue;
    const { step, loss, mean_token_accuracy } = event.record;
    const seconds = ((performance.now() - began) / 1000).toFixed(0);
    console.log(`step ${step}: loss ${loss}, accuracy ${mean_token_accuracy}, ${seconds} s`);
  }

  const prepared = await prepareText({ gpu: device(), model: output });
  const images = (await Images.open(nodeImages(), prepared.checkpoint, prepared.config))!;
  const text = await loadText(prepared, { gpu: device(), model: output, vision: true });
  const prompts = [];
  for (const [i, { png }] of rows.test.entries()) {
    const row = await images.row({ row: { messages: asked(png) }, number: i + 1, file: "test.jsonl" });
    prompts.push({ ...promptOf(prepared, row), images: await images.seen(text.model, row) });
  }
  const records = rows.test.map(({ text: ground_truth }) => ({ ground_truth, generated_text: "" }));
  const settings = settingsOf(prepared.defaults, { temperature: 0, max_new_tokens: 6 }, 0);
  for await (const event of respond(text, prompts, settings)) {
    if (event.type === "response") records[event.prompt].generated_text = event.made.text;
  }
  const { avg_cer, exact } = ocrScores(records);
  console.log(`on ${records.length} held-out images: CER ${avg_cer}, ${exact} without an error`);
  expect(avg_cer).toBeLessThanOrEqual(0.1);
});
