import { describe, expect, it } from "vitest";
import { FormatError, UnsupportedError } from "../../../src/errors.ts";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { readAdapter } from "../../../src/io/peft.ts";
import { relativeError } from "../../../src/kernels/check.ts";
import { ggufTensors } from "../../../src/model/files/gguf.ts";
import { initAdapter, loadModel, openAdapterFor } from "../../../src/model/files/load.ts";
import { openModel } from "../../../src/model/files/open.ts";
import { writeMerged } from "../../../src/model/files/write-merged.ts";
import type { Transformer } from "../../../src/model/transformer.ts";
import { forecastSft } from "../../../src/train/forecast/sft.ts";
import { uniformFrom } from "../../../src/train/seed.ts";
import { useGpu } from "../../kernels/harness.ts";
import { contents, learnt, recipeOf, TINY, tinyModel, train } from "../../train/fixtures.ts";
import { expectReopened } from "./reopened.ts";

const gpu = useGpu();
const ids = [3, 1, 4, 1, 5, 9, 2, 6];
const batch = { input_ids: ids, position_ids: ids.map((_, i) => i), cu_seqlens: [0, ids.length] };
const LORA = { r: 4, lora_alpha: 8, lora_dropout: 0, use_rslora: false, target_modules: ["q_proj"] };
const RUN = { lora_target_modules: "q_proj v_proj", lora_dropout: 0, max_steps: 4 };

/** Gradients of one batch by name. */
async function gradients(model: Transformer): Promise<Map<string, Float32Array>> {
  const record = gpu().recorder();
  record.clear(model.store!.grads);
  const targets = { rows: Uint32Array.of(1, 3, 5), tokens: Uint32Array.of(4, 200, 2) };
  model.run(record, batch, targets, {}, (r, _rows, _start, size) =>
    r.upload(new Float32Array(size).fill(-1 / 3), [size], "dObjective"),
  );
  const read = record.read(model.store!.grads);
  record.submit();
  return new Map(model.store!.split(await read).map(({ name, data }) => [name, data]));
}

describe.each([true, false])("embedding and head trained beside LoRA, in a model with tied tables: %s", (tied) => {
  const base = () => tinyModel({ ...TINY, tie_word_embeddings: tied });

  it("have the gradients of full training, each its own", async () => {
    const checkpoint = await openCheckpoint(await base());
    const lora = { ...LORA, modules_to_save: ["embed_tokens", "lm_head"] };
    const model = await loadModel(gpu(), checkpoint, { trained: { lora } });
    initAdapter(gpu(), model, uniformFrom(1));
    const got = await gradients(model);
    const want = await gradients(await loadModel(gpu(), checkpoint, { trained: "all" }));
    const [embed, head] = ["model.embed_tokens", "lm_head"].map((name) => got.get(`base_model.model.${name}.weight`)!);
    const whole = want.get("model.embed_tokens.weight")!;
    if (tied)
      expect(
        relativeError(
          embed.map((v, i) => v + head[i]),
          whole,
        ),
      ).toBeLessThan(1e-5);
    else {
      expect(relativeError(embed, whole)).toBeLessThan(1e-5);
      expect(relativeError(head, want.get("lm_head.weight")!)).toBeLessThan(1e-5);
    }
    expect(embed.some((v) => v !== 0) && head.some((v) => v !== 0)).toBe(true);
  });

  it.each([[["embed_tokens"]], [["lm_head"]], [["embed_tokens", "lm_head"]]])(
    "%j: saved, loaded, swapped and merged",
    async (names) => {
      const model = await base();
      const recipe = recipeOf({ ...RUN, lora_modules_to_save: names });
      const { trainee, output } = await train(gpu(), { recipe, model });
      const want = await trainee.model.logits(batch);
      const { checkpoint, config } = await openModel(model);
      const { adapter } = await openAdapterFor(config, output);
      expect(adapter.config.modules_to_save).toEqual(names);
      expect([...adapter.tensors.keys()].filter((name) => !name.includes(".lora_"))).toHaveLength(names.length);
      await expectReopened(gpu(), checkpoint, output, { batch, want });

      const merged = memoryFolder("merged");
      await writeMerged(merged, checkpoint, output, { dtype: "F32" });
      const whole = await openModel(merged);
      expect(whole.config.tie_word_embeddings).toBe(false);
      expect(relativeError(await (await loadModel(gpu(), whole.checkpoint)).logits(batch), want)).toBeLessThan(5e-6);
      const tensors = (await ggufTensors(checkpoint, output, "f16")).map(({ name }) => name);
      expect(tensors).toContain("output.weight");
    },
  );
});

describe("modules_to_save", () => {
  it("resumes exactly, and its reference is the model before training", async () => {
    const recipe = recipeOf({ ...RUN, lora_modules_to_save: ["embed_tokens"], save_strategy: "steps", save_steps: 2 });
    const model = await tinyModel();
    const straight = await train(gpu(), { recipe, model });
    const output = memoryFolder("out");
    const onEvent = (event: { type: string; step?: number }) => event.type === "step" && event.step === 3;
    const first = await train(gpu(), { recipe, model, output, onEvent });
    const second = await train(gpu(), { recipe, model, output, resume: true });
    const before = first.logs.filter(({ step }) => step <= 2);
    expect(learnt([...before, ...second.logs])).toEqual(learnt(straight.logs));
    const name = "adapter_model.safetensors";
    expect((await contents(output))[name]).toBe((await contents(straight.output))[name]);
    expect(straight.prepared.continued).toBe(true);

    const checkpoint = await openCheckpoint(model);
    const lora = { ...LORA, modules_to_save: ["embed_tokens"] };
    const fresh = await loadModel(gpu(), checkpoint, { trained: { lora } });
    initAdapter(gpu(), fresh, uniformFrom(1));
    const reference = fresh.withFrozenAdapter();
    const want = await (await loadModel(gpu(), checkpoint)).logits(batch);
    const { store } = fresh;
    for (const parameter of store!.parameters) {
      store!.write(gpu(), parameter.name, new Float32Array(parameter.size).fill(0.01));
    }
    expect(relativeError(await reference.logits(batch), want)).toBeLessThan(2e-6);
    expect(relativeError(await fresh.logits(batch), want)).toBeGreaterThan(0.1);
    expect(() => fresh.withoutAdapter()).toThrow("model.embed_tokens.weight itself is trained");
  });

  it("counts the tables in the forecast", async () => {
    const { prepared } = await train(gpu(), { recipe: recipeOf({ ...RUN, max_steps: 1 }), model: await tinyModel() });
    const of = (lora: object) => {
      const { config } = prepared;
      const steps = [[]];
      return { config, steps, trained: { lora: { ...prepared.lora!, ...lora } } };
    };
    const shared = { dtypeOf: () => "bf16" as const, optimizer: recipeOf(), adapter: { limits: gpu().limits } };
    const [plain, more] = [of({}), of({ modules_to_save: ["lm_head"] })].map((input) => {
      return forecastSft({ ...shared, ...input }).trainable;
    });
    expect(more - plain).toBe(256 * 64);
  });

  it("names what it cannot train, and a file that lacks a table", async () => {
    const model = await tinyModel();
    const recipe = recipeOf({ ...RUN, lora_modules_to_save: ["norm"] });
    await expect(train(gpu(), { recipe, model })).rejects.toThrow(UnsupportedError);
    const { output } = await train(gpu(), { recipe: recipeOf({ ...RUN, max_steps: 1 }), model });
    const json = JSON.parse(await output.readText("adapter_config.json"));
    await output.write("adapter_config.json", JSON.stringify({ ...json, modules_to_save: ["lm_head"] }));
    expect((await readAdapter(output)).config.modules_to_save).toEqual(["lm_head"]);
    const { config } = await openModel(model);
    await expect(openAdapterFor(config, output)).rejects.toThrow(FormatError);
    await expect(openAdapterFor(config, output)).rejects.toThrow("the file lacks it");
  });
});
