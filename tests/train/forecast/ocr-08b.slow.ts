import { expect, it } from "vitest";
import { SPECS, writeRandomCheckpoint } from "../../../scripts/random-checkpoint.ts";
import { tinyTokenizer } from "../../../scripts/tiny-files.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { nodeImages } from "../../../src/platform/node/image-files.ts";
import { parseRecipe } from "../../../src/recipe/recipe.ts";
import { imagesFrom } from "../../../src/session/images.ts";
import { loadTraining, prepareTraining, runTraining } from "../../../src/session/train.ts";
import { cpuTime } from "../../cpu-time.ts";
import { png } from "../../images.ts";
import { useGpu } from "../../kernels/harness.ts";

// OCR training at Qwen3.5-0.8B's widths, vocabulary and r = 16 with an image of 640 × 448, at a part of its depth: the
// widths decide what a step holds at a time, and each layer adds the same again.

const LAYERS = 4; // three delta nets and attention
const BLOCKS = 2;
const IMAGES = 2;
const EPOCHS = 2;

const gpu = useGpu();

it("needs the memory of its forecast, and no time for the tower from the second epoch on", async () => {
  const special = 262;
  const { files } = tinyTokenizer([], special, 1, true);
  const tower = { hidden_size: 768, intermediate_size: 3072, num_heads: 12, patch_size: 16 };
  const vision = { ...tower, depth: BLOCKS, num_position_embeddings: 2304, image_token_id: special - 1 };
  const model = memoryFolder("0.8b");
  const sizes = { ...SPECS["qwen3.5-0.8b"], model_type: "qwen3_5", num_hidden_layers: LAYERS, vision };
  await writeRandomCheckpoint(model, sizes, 1);
  for (const [name, text] of Object.entries(files)) await model.write(name, text);

  const train = Array.from({ length: IMAGES }, (_, i) => {
    const bytes = png(640, 448, (x, y) => [(x + i) & 255, y & 255, (x * y) & 255]);
    const question = [{ type: "image", bytes }, { type: "text", text: "Read the text." }]; // biome-ignore format: a turn
    const messages = [
      { role: "user", content: question },
      { role: "assistant", content: "No. 4711, 12 May 2026" },
    ];
    return { row: { messages }, number: i + 1, file: "rows" };
  });
  const values = {
    lora_r: 16,
    lora_alpha: 32,
    lora_target_modules: ["all-linear"],
    max_length: null,
    per_device_train_batch_size: 1,
    num_train_epochs: EPOCHS,
    logging_steps: 1,
    save_strategy: "no",
    output_dir: "out",
  };
  const { recipe } = parseRecipe(values, "sft");
  let features = 0;
  const cache = memoryFolder("features");
  const access = nodeImages(cache);
  const decode: typeof access.decode = (bytes, type) => {
    features++;
    return access.decode(bytes, type);
  };
  const sources = { gpu: gpu(), model, train, images: imagesFrom({ ...access, decode }) };
  const { pool } = gpu();
  pool.trim();
  const before = pool.ledger.allocated;
  pool.ledger.peak = before;
  const training = await prepareTraining("sft", recipe, sources);
  const trainee = await loadTraining(training, sources, "0.8b");
  await gpu().settle();
  // processor time, which is the software adapter's too: others may use the machine
  const times: number[] = [];
  let used = cpuTime();
  for await (const event of runTraining(training, trainee, { output: memoryFolder("out"), resume: null })) {
    if (event.type !== "log" || event.record.step % IMAGES > 0) continue;
    await gpu().settle();
    times.push(used());
    used = cpuTime();
  }
  const { forecast } = training.prepared;
  const ledger = pool.ledger.peak - before;
  console.log(`tokens ${forecast.tokens}; forecast ${forecast.peak}, ledger ${ledger}: ${ledger / forecast.peak}`);
  const [first, second] = times;
  console.log(`processor seconds of ${IMAGES} steps: ${first.toFixed(1)} with the tower, then ${second.toFixed(1)}`);
  expect(features).toBe(IMAGES); // the tower saw each image once
  expect(await cache.list()).toHaveLength(IMAGES);
  expect(ledger / forecast.peak).toBeLessThan(1.01);
  expect(ledger / forecast.peak).toBeGreaterThan(0.95);
});
