import { beforeAll, describe, expect, it } from "vitest";
import type { NumberedRow } from "../../src/data/rows.ts";
import { NotFoundError } from "../../src/errors.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import { openCheckpoint } from "../../src/io/checkpoint.ts";
import type { ImageDecoder } from "../../src/io/images.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { readAdapter } from "../../src/io/peft.ts";
import type { Folder } from "../../src/io/storage.ts";
import { openModel } from "../../src/model/files/open.ts";
import { writeMerged } from "../../src/model/files/write-merged.ts";
import { decodeNodeImage } from "../../src/platform/node/images.ts";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import type { NamedReward } from "../../src/rewards/reward.ts";
import { exportFiles } from "../../src/session/export.ts";
import { loadText, prepareText, promptOf, respond, samplingOf } from "../../src/session/generate.ts";
import { type ImageAccess, Images, imagesFrom } from "../../src/session/images.ts";
import { loadSft, prepareSft, sft } from "../../src/session/sft.ts";
import { loadTraining, prepareTraining, runTraining } from "../../src/session/train.ts";
import { grey, seeingModel } from "../images.ts";
import { useGpu } from "../kernels/harness.ts";
import { learnt, recipeOf } from "../train/fixtures.ts";
import { grpoRecipe, letters, tinyChatModel } from "../train/grpo/fixtures.ts";

const gpu = useGpu();

/** Counts what is decoded; reads files from memory. */
function access(cache: Folder | null, files: Record<string, Uint8Array> = {}) {
  const counts = { decoded: 0 };
  const decode: ImageDecoder = (bytes, type) => {
    counts.decoded++;
    return decodeNodeImage(bytes, type);
  };
  const read = async (address: string) => {
    if (!files[address]) throw new NotFoundError("there is no such file");
    return files[address];
  };
  return { counts, images: { cache, decode, read } satisfies ImageAccess };
}

const answer = (word: string) => ({ role: "assistant", content: word });
const numbered = (rows: Record<string, unknown>[]): NumberedRow[] =>
  rows.map((row, i) => ({ row, number: i + 1, file: "rows.jsonl" }));

/** A dark and a light image, in the ways in which rows hold them, and a row of text. */
function rows(): NumberedRow[] {
  const url = `data:image/png;base64,${Buffer.from(grey(33, 20, 30)).toString("base64")}`;
  return numbered([
    {
      messages: [
        {
          role: "user",
          content: [
            { type: "image", image: url },
            { type: "text", text: "what?" },
          ],
        },
        answer("no"),
      ],
    },
    {
      messages: [{ role: "user", content: "what?" }, answer("yes")],
      images: [{ bytes: grey(16, 40, 220), path: null }],
    },
    {
      prompt: [{ role: "user", content: [{ type: "text", text: "what?" }, { type: "image" }] }],
      completion: [answer("yes")],
      image: "light.png",
    },
    { messages: [{ role: "user", content: "hello" }, answer("hello")] },
  ]);
}

describe("training on images", () => {
  const sourcesOf = (model: Folder) => ({ gpu: gpu(), model, images: imagesFrom(access(null, files).images) });
  let model: Folder;
  beforeAll(async () => {
    model = await seeingModel();
  });
  const files = { "light.png": grey(64, 64, 200) };
  const values = { max_steps: 6, per_device_train_batch_size: 4, max_length: null, assistant_only_loss: false };
  const recipe = recipeOf(values);

  async function run(device: Gpu, images: ImageAccess, chosen = recipe) {
    const sources = { gpu: device, model, train: rows(), images: imagesFrom(images) };
    const prepared = await prepareSft(chosen, sources);
    const trainee = await loadSft(chosen, prepared, sources, "seeing");
    const output = memoryFolder("out");
    const logs = [];
    for await (const event of sft(trainee, prepared.data, chosen, { output, resume: null })) {
      if (event.type === "log") logs.push(event.record);
    }
    return { prepared, output, logs };
  }

  it("learns, computes the features of each image once, and reads them from the cache in the next run", async () => {
    const cache = memoryFolder("features");
    const first = access(cache, files);
    const { prepared, output, logs } = await run(gpu(), first.images);
    expect(logs.at(-1)!.loss).toBeLessThan(0.7 * logs[0].loss);
    expect(first.counts.decoded).toBe(3);
    expect(await cache.list()).toHaveLength(3);
    // 33 × 20 pixels are 32 × 16 after the processor: 2 × 1 merged patches of 16
    expect(prepared.train!.rows.map(({ images }) => images?.map(({ tokens }) => tokens))).toEqual([
      [2],
      [2],
      [16],
      undefined,
    ]);
    for (const { input_ids, labels } of prepared.train!.rows) {
      const image = (await openModel(model)).config.vision!.image_token_id;
      expect(
        [...(labels as Int32Array)].filter((_, i) => input_ids[i] === image).every((label) => label === -100),
      ).toBe(true);
    }
    const second = access(cache, files);
    const again = await run(gpu(), second.images);
    expect(second.counts.decoded).toBe(0);
    expect(learnt(again.logs)).toEqual(learnt(logs));

    // the adapter has the language model's layers only; a merge keeps the tower and the processor
    const names = [...(await openCheckpoint(model)).tensors.keys()].filter((name) => name.startsWith("model.visual."));
    const merged = memoryFolder("merged");
    await writeMerged(merged, (await openModel(model)).checkpoint, output, { dtype: "F32" });
    const kept = (await openCheckpoint(merged)).tensors;
    expect(names.filter((name) => kept.has(name))).toEqual(names);
    expect(await merged.exists("preprocessor_config.json")).toBe(true);
  });

  it.each([
    [
      { messages: [{ role: "user", content: [{ type: "image" }] }, answer("a")] },
      "has 1 image parts without an image, and 0 images",
    ],
    [
      { messages: [{ role: "user", content: "a" }, answer("a")], image: "gone.png" },
      "image 1 gone.png: there is no such file",
    ],
    [
      {
        messages: [{ role: "user", content: "a" }, answer("a")],
        image: { bytes: new TextEncoder().encode("<svg><script/></svg>") },
      },
      "PNG, JPEG and WebP are read, and it is an SVG or XML text",
    ],
    [
      { messages: [{ role: "user", content: "a" }, answer("a")], images: [3] },
      "an image must be a path, a URL, bytes, or an object",
    ],
    [{ text: "a", image: "light.png" }, "has images, so it needs messages"],
  ])("refuses a row %#, with its number", async (row, message) => {
    const { images } = access(null, files);
    const sources = { gpu: gpu(), model, train: numbered([row]), images: imagesFrom(images) };
    await expect(prepareSft(recipe, sources)).rejects.toThrow(message);
    await expect(prepareSft(recipe, { ...sources, train: numbered([row]) })).rejects.toThrow("rows.jsonl, row 1");
  });

  it("refuses a max_length that cuts an image, and packing", async () => {
    const prepare = (values: Record<string, unknown>) =>
      prepareSft(recipeOf({ max_length: null, ...values }), {
        gpu: gpu(),
        model,
        train: rows(),
        images: imagesFrom(access(null, files).images),
      });
    await expect(prepare({ max_length: 8 })).rejects.toThrow("max_length 8 would cut off a part of one");
    await expect(prepare({ packing: true, max_length: 64 })).rejects.toThrow("Cannot pack rows with images");
  });

  it("takes the processor's settings where transformers 5 saves them", async () => {
    const folder = await seeingModel();
    const settings = JSON.parse(await folder.readText("preprocessor_config.json"));
    const own = await prepareSft(recipe, { ...sourcesOf(folder), train: rows().slice(0, 1) });
    await folder.remove("preprocessor_config.json");
    await folder.write("processor_config.json", JSON.stringify({ image_processor: settings }));
    const whole = await prepareSft(recipe, { ...sourcesOf(folder), train: rows().slice(0, 1) });
    expect(whole.train!.rows[0].images).toEqual(own.train!.rows[0].images);
    await folder.write("processor_config.json", "[]");
    await expect(prepareSft(recipe, { ...sourcesOf(folder), train: rows() })).rejects.toThrow("processor_config.json");
  });

  it("refuses rows with images for a model without a tower, without a reader, and in streams", async () => {
    const asked = { messages: [{ role: "user", content: "a" }, answer("b")] };
    const rows = numbered([asked, { ...asked, images: [{ bytes: grey(16, 16, 3) }] }]);
    const train = { [Symbol.iterator]: () => rows[Symbol.iterator]() };
    const images = imagesFrom(access(null).images);
    const blind = prepareSft(recipe, { gpu: gpu(), model: await tinyChatModel(), train, images });
    await expect(blind).rejects.toThrow("rows.jsonl, row 2: has images, and the model has no vision tower to see them");
    const unread = prepareSft(recipe, { gpu: gpu(), model, train });
    await expect(unread).rejects.toThrow("rows.jsonl, row 2: has images, and nothing was given to open them with");
    const streaming = recipeOf({ dataset_streaming: true, max_length: 64, max_steps: 1 });
    const streamed = prepareSft(streaming, { gpu: gpu(), model, train, images });
    await expect(streamed).rejects.toThrow("rows.jsonl, row 2: has images, and streamed rows may have none");
  });

  it("trains LoRA on the tower, which then computes its features in every step", async () => {
    const cache = memoryFolder("features");
    const { images, counts } = access(cache, files);
    const { output, logs, prepared } = await run(gpu(), images, recipeOf({ ...values, finetune_vision_layers: true }));
    expect(logs.at(-1)!.loss).toBeLessThan(0.7 * logs[0].loss);
    expect(counts.decoded).toBe(3); // patches stay in memory
    expect(await cache.list()).toEqual([]);
    const names = [...(await readAdapter(output)).tensors.keys()];
    expect(names.filter((name) => name.includes(".visual."))).toHaveLength(2 * 10);
    expect(prepared.forecast.peak).toBeGreaterThan(0);

    // a merge changes the tower's layers, and keeps the rest of it; a GGUF of the language model would lose them
    const { checkpoint } = await openModel(model);
    const merged = memoryFolder("merged");
    await writeMerged(merged, checkpoint, output, { dtype: "F32" });
    const [before, after] = [await openCheckpoint(model), await openCheckpoint(merged)];
    const same = async (name: string) => Buffer.compare(await before.read(name), await after.read(name)) === 0;
    expect(await same("model.visual.blocks.1.attn.proj.weight")).toBe(false);
    expect(await same("model.visual.patch_embed.proj.weight")).toBe(true);
    const request = { format: "gguf", name: "a", base: "b" } as const;
    await expect(exportFiles({ checkpoint, adapter: output }, request).next()).rejects.toThrow(
      "Cannot export gguf: the adapter changes the vision tower",
    );
    const text = { gpu: gpu(), model, train: rows().slice(3), images: imagesFrom(images) };
    await expect(prepareSft(recipeOf({ ...values, finetune_vision_layers: true }), text)).rejects.toThrow(
      "Cannot train layers of the vision tower: the rows have no images",
    );
  });

  it("trains all weights with the tower, and saves a model that sees", async () => {
    const { images } = access(null, files);
    const whole = recipeOf({ ...values, use_peft: false, dtype: "float32", learning_rate: 1e-3 });
    const { output, logs, prepared } = await run(gpu(), images, whole);
    expect(logs.at(-1)!.loss).toBeLessThan(0.9 * logs[0].loss);
    const made = (await openCheckpoint(output)).tensors;
    expect([...made.keys()].sort()).toEqual([...(await openCheckpoint(model)).tensors.keys()].sort());
    expect(await output.exists("preprocessor_config.json")).toBe(true);
    // the saved model goes on as a base
    const again = { gpu: gpu(), model: output, train: rows(), images: imagesFrom(images) };
    expect((await prepareSft(whole, again)).forecast.peak).toBe(prepared.forecast.peak);
  });
});

describe("GRPO on prompts with images", () => {
  const asked = () =>
    numbered([30, 220].map((shade) => ({
      prompt: [{ role: "user", content: [{ type: "image" }, { type: "text", text: "what?" }] }],
      images: [{ bytes: grey(32, 32, shade), path: null }],
      shade,
    }))); // biome-ignore format: a row
  const recipe = grpoRecipe({ beta: 0.1, max_steps: 4, num_iterations: 2, save_strategy: "steps", save_steps: 1 });

  async function run(images: ImageAccess, output: Folder, resume: Folder | null) {
    const seen: unknown[] = [];
    const watched: NamedReward = {
      name: "letters",
      reward: (prompts, completions, columns, context) => {
        seen.push(...columns.shade);
        return letters.reward(prompts, completions, columns, context);
      },
    };
    const sources = { gpu: gpu(), model: await seeingModel(), train: asked(), images: imagesFrom(images) };
    const training = await prepareTraining("grpo", recipe, { ...sources, rewards: [watched] });
    const trainee = await loadTraining(training, sources, "seeing");
    const logs = [];
    for await (const event of runTraining(training, trainee, { output, resume })) {
      if (event.type === "log") logs.push(event.record);
    }
    return { training, logs, seen };
  }

  it("trains with a frozen tower, and goes on from a checkpoint within a generation batch with the same numbers", async () => {
    const { images, counts } = access(memoryFolder("features"));
    const output = memoryFolder("out");
    const { training, logs, seen } = await run(images, output, null);
    expect(counts.decoded).toBe(2); // once for each image
    expect(
      training.prepared.data.train.map(({ prompt_ids, row_images: own }) => [own![0].tokens, prompt_ids.length]),
    ).toEqual(Array(2).fill([4, expect.any(Number)]));
    expect(new Set(seen)).toEqual(new Set([30, 220])); // rewards get the other columns
    expect(logs).toHaveLength(4);
    expect(logs[0].kl).toBeCloseTo(0, 5); // the reference sees the same images
    expect(logs.slice(1).some(({ kl }) => (kl as number) > 0)).toBe(true);
    expect((await readAdapter(output)).tensors.size).toBeGreaterThan(0);
    // checkpoint-3 is between two steps on one generation batch, whose file has no images
    const resumed = await run(access(null).images, memoryFolder("again"), output.folder("checkpoint-3"));
    const numbers = (all: typeof logs) => learnt(all.map((log) => ({ ...log, step_time: 0 })));
    expect(numbers(resumed.logs)).toEqual(numbers(logs.slice(3)));
  });

  it("refuses to train all weights", async () => {
    const sources = { gpu: gpu(), model: await seeingModel(), train: asked(), images: imagesFrom(access(null).images) };
    const whole = grpoRecipe({ use_peft: false, beta: 0 });
    await expect(prepareTraining("grpo", whole, { ...sources, rewards: [letters] })).rejects.toThrow(
      "Cannot train all weights by GRPO on prompts with images",
    );
  });
});

describe("DPO on pairs with images", () => {
  const pairs = () =>
    numbered([30, 220].map((shade) => ({
      prompt: [{ role: "user", content: [{ type: "image" }, { type: "text", text: "what?" }] }],
      chosen: [answer(shade > 100 ? "light" : "dark")],
      rejected: [answer(shade > 100 ? "dark" : "light")],
      images: [{ bytes: grey(32, 32, shade), path: null }],
    }))); // biome-ignore format: a row
  const dpoRecipe = (more: Record<string, unknown> = {}) => {
    const values = { per_device_train_batch_size: 2, max_steps: 5, logging_steps: 1, save_strategy: "no" };
    return parseRecipe({ ...values, learning_rate: 1e-2, lora_r: 4, output_dir: "out", ...more }, "dpo").recipe;
  };

  async function run(more: Record<string, unknown> = {}) {
    const { images, counts } = access(memoryFolder("features"));
    const sources = {
      gpu: gpu(),
      model: await seeingModel(),
      train: pairs(),
      eval: pairs(),
      images: imagesFrom(images),
    };
    const training = await prepareTraining("dpo", dpoRecipe(more), sources);
    const trainee = await loadTraining(training, sources, "seeing");
    const logs = [];
    for await (const event of runTraining(training, trainee, { output: memoryFolder("out"), resume: null })) {
      if (event.type === "log") logs.push(event.record);
    }
    return { logs, counts, training };
  }

  it("prefers what each image shows: nothing else tells the pairs apart", async () => {
    const { logs, counts, training } = await run();
    expect(logs[0].loss).toBeCloseTo(Math.log(2), 3); // the reference sees the same images
    expect(logs.at(-1)!.loss).toBeLessThan(0.9 * logs[0].loss);
    expect(counts.decoded).toBe(2);
    const [{ chosen, row_images }] = training.prepared.data.train;
    expect(row_images).toHaveLength(1);
    expect([...(chosen.input_ids as Int32Array)].filter((id, i, all) => i > 0 && id === all[i - 1])).toHaveLength(3);
    const early = await run({ precompute_ref_log_probs: true });
    expect(early.logs.at(-1)!.loss).toBeCloseTo(logs.at(-1)!.loss, 4);
  });

  it("refuses a max_length that cuts an image", async () => {
    await expect(run({ max_length: 9, truncation_mode: "keep_end" })).rejects.toThrow("would cut off a part of one");
  });
});

describe("generating from images", () => {
  it("continues as a forward pass over the whole sequence does, each prompt at its own rotary positions", async () => {
    const model = await seeingModel();
    const { checkpoint, config } = await openModel(model);
    const { images } = access(null, { "wide.png": grey(200, 30, 90) });
    const opened = (await Images.open(images, checkpoint, config))!;
    const sources = { gpu: gpu(), model, vision: true };
    const text = await loadText(await prepareText(sources), sources);
    const user = (content: unknown) => ({ messages: [{ role: "user", content }] });
    const asked = numbered([
      user([
        { type: "image", image: "wide.png" },
        { type: "text", text: "what?" },
      ]),
      user("hello"),
    ]);
    const prompts = [];
    for (const source of asked) {
      const row = await opened.row(source);
      prompts.push({ ...promptOf(text, row), images: await opened.seen(text.model, row) });
    }
    const made: number[][] = [];
    const options = { ...samplingOf(text.defaults, { temperature: 0 }), max_new_tokens: 5, seed: 1 };
    for await (const event of respond(text, prompts, options)) {
      if (event.type === "response") made[event.prompt] = event.made.ids;
    }
    for (const [i, { prompt_ids, images: seen }] of prompts.entries()) {
      const ids = [...prompt_ids];
      for (const drawn of made[i]) {
        const batch = { input_ids: ids, position_ids: ids.map((_, t) => t), cu_seqlens: [0, ids.length] };
        const logits = await text.model.logits({ ...batch, ...(seen && { images: seen }) });
        const last = logits.subarray((ids.length - 1) * config.vocab_size);
        expect(drawn).toBe(last.reduce((best, v, id) => (v > last[best] ? id : best), 0));
        ids.push(drawn);
      }
    }
    // 200 × 30 pixels are resized to 160 × 16: 10 merged patches in a line, at 10 positions
    expect(prompts[0].images!.grids).toEqual([[1, 2, 20]]);
  });
});

describe("images that rows hold themselves", () => {
  const url = `data:image/png;base64,${Buffer.from(grey(33, 20, 30)).toString("base64")}`;
  const [first, second] = [grey(16, 40, 220), grey(24, 40, 120)];
  const held = numbered([
    { messages: [{ role: "user", content: "a" }, answer("b")], images: [{ bytes: first, path: null }] },
    { messages: [{ role: "user", content: "c" }, answer("d")], images: [url] },
    { messages: [{ role: "user", content: "e" }, answer("f")], images: [{ bytes: second, path: null }] },
  ]);
  const openAll = async (images: ImageAccess) => {
    const { checkpoint, config } = await openModel(await seeingModel());
    const opened = (await Images.open(images, checkpoint, config))!;
    const keys: string[] = [];
    for await (const row of opened.rows(held)) keys.push(row.images![0].key);
    return { opened, keys };
  };

  it("stay in memory up to a limit, then go to the cache, and are the same bytes from both", async () => {
    const cache = memoryFolder("features");
    const { opened, keys } = await openAll({ ...access(cache).images, holds: first.length });
    expect((await cache.list()).sort()).toEqual(
      keys
        .slice(1)
        .map((key) => `${key}.image`)
        .sort(),
    );
    expect(opened.notes).toEqual([]);
    expect(await opened.bytesOf({ key: keys[0] })).toEqual(first);
    expect(Buffer.from(await opened.bytesOf({ key: keys[1] })).toString("base64")).toBe(url.split(",")[1]);
    expect(Buffer.from(await opened.bytesOf({ key: keys[2] }))).toEqual(Buffer.from(second));
  });

  it("stay in memory without a cache, and with a full one, which a note says", async () => {
    const full = { ...memoryFolder("full"), write: () => Promise.reject(new Error("full")) };
    for (const cache of [null, full]) {
      const { opened, keys } = await openAll({ ...access(cache).images, holds: first.length });
      expect(opened.notes.join()).toMatch(/^the rows hold \d+ B of images, which stay in this machine's memory/);
      expect(Buffer.from(await opened.bytesOf({ key: keys[2] }))).toEqual(Buffer.from(second));
    }
  });
});
