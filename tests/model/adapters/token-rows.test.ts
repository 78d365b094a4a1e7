import { describe, expect, it } from "vitest";
import { FormatError } from "../../../src/errors.ts";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { relativeError } from "../../../src/kernels/check.ts";
import { ggufTensors } from "../../../src/model/files/gguf.ts";
import { initAdapter, loadModel, openAdapterFor } from "../../../src/model/files/load.ts";
import { openModel } from "../../../src/model/files/open.ts";
import { writeMerged } from "../../../src/model/files/write-merged.ts";
import { generate } from "../../../src/model/generate/generate.ts";
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
const RUN = { lora_target_modules: "q_proj v_proj", lora_dropout: 0, max_steps: 4, learning_rate: 1e-2 };
const EMBED = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta";
const HEAD = "base_model.model.lm_head.token_adapter.trainable_tokens_delta";

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

/** Rows of a table of 64 columns. */
const rowsOf = (table: Float32Array, tokens: readonly number[]) =>
  Float32Array.from(tokens.flatMap((id) => [...table.subarray(id * 64, (id + 1) * 64)]));

describe.each([true, false])("rows of tokens, in a model with tied tables: %s", (tied) => {
  const base = () => tinyModel({ ...TINY, tie_word_embeddings: tied });

  it("have the gradients of full training's rows, and all other gradients stay", async () => {
    const checkpoint = await openCheckpoint(await base());
    const of = async (more: object) => {
      const model = await loadModel(gpu(), checkpoint, { trained: { lora: { ...LORA, ...more } } });
      initAdapter(gpu(), model, uniformFrom(1));
      return gradients(model);
    };
    const whole = await gradients(await loadModel(gpu(), checkpoint, { trained: "all" }));
    const [table, head] = ["model.embed_tokens.weight", tied ? "model.embed_tokens.weight" : "lm_head.weight"];
    const tokens = [200, 4, 1, 77];
    const listed = await of({ trainable_token_indices: tokens });
    expect(relativeError(listed.get(EMBED)!, rowsOf(whole.get(table)!, tokens))).toBeLessThan(1e-5);
    expect(listed.has(HEAD)).toBe(false);
    const each = await of({ trainable_token_indices: { embed_tokens: [1, 4], lm_head: [200, 2, 77] } });
    if (tied) {
      // every table has its own rows, so that their sum is the gradient of a shared one
      const both = await of({ trainable_token_indices: { embed_tokens: [2, 200], lm_head: [200, 2] } });
      const swapped = rowsOf(both.get(HEAD)!, [1, 0]);
      const sum = both.get(EMBED)!.map((v, i) => v + swapped[i]);
      expect(relativeError(sum, rowsOf(whole.get(table)!, [2, 200]))).toBeLessThan(1e-5);
    } else {
      expect(relativeError(each.get(EMBED)!, rowsOf(whole.get(table)!, [1, 4]))).toBeLessThan(1e-5);
      expect(relativeError(each.get(HEAD)!, rowsOf(whole.get(head)!, [200, 2, 77]))).toBeLessThan(1e-5);
    }
    const plain = await of({});
    for (const [name, grad] of plain) expect(relativeError(listed.get(name)!, grad), name).toBeLessThan(1e-5);
  });

  it.each<[unknown, string[]]>([
    [[5, 200, 3], [EMBED]],
    [{ lm_head: [5, 200] }, [HEAD]],
    [{ embed_tokens: [9, 2], lm_head: [2] }, [EMBED, HEAD]],
  ])("%j: saved, loaded, swapped, merged", async (trainable_token_indices, names) => {
    const model = await base();
    const recipe = recipeOf({ ...RUN, trainable_token_indices });
    const { trainee, output } = await train(gpu(), { recipe, model });
    const want = await trainee.model.logits(batch);
    const { checkpoint, config } = await openModel(model);
    const { adapter } = await openAdapterFor(config, output);
    expect(adapter.config.trainable_token_indices).toEqual(trainable_token_indices);
    expect([...adapter.tensors.keys()].filter((name) => !name.includes(".lora_")).sort()).toEqual([...names].sort());
    await expectReopened(gpu(), checkpoint, output, { batch, want });

    const merged = memoryFolder("merged");
    await writeMerged(merged, checkpoint, output, { dtype: "F32" });
    const whole = await openModel(merged);
    const shared = tied && Array.isArray(trainable_token_indices);
    expect(whole.config.tie_word_embeddings).toBe(shared);
    expect(relativeError(await (await loadModel(gpu(), whole.checkpoint)).logits(batch), want)).toBeLessThan(5e-6);
    const tensors = (await ggufTensors(checkpoint, output, "f16")).map(({ name }) => name);
    expect(tensors.includes("output.weight")).toBe(!shared);
  });
});

describe("trainable_token_indices", () => {
  it("decoding, one token after another, reads the rows as a whole pass does", async () => {
    const recipe = recipeOf({ ...RUN, trainable_token_indices: { embed_tokens: [5, 200, 3], lm_head: [200, 7] } });
    const { model } = (await train(gpu(), { recipe, model: await tinyModel() })).trainee;
    const options = { temperature: 1, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1, seed: 3 };
    const prompt_ids = [3, 5, 4, 200];
    const [{ ids: drawn, logps }] = await generate(model, [{ prompt_ids, sequence: 1 }], {
      ...options,
      max_new_tokens: 12,
      eos_token_ids: [],
    });
    const input_ids = [...prompt_ids, ...drawn];
    const position_ids = input_ids.map((_, i) => i);
    const logits = await model.logits({ input_ids, position_ids, cu_seqlens: [0, input_ids.length] });
    const want = drawn.map((id, i) => {
      const row = logits.subarray((i + 3) * 256, (i + 4) * 256);
      return row[id] - Math.log(row.reduce((sum, v) => sum + Math.exp(v), 0));
    });
    expect(drawn).toHaveLength(12);
    expect(relativeError(logps, want)).toBeLessThan(1e-5);
  });

  it("resumes exactly, and its reference is the base", async () => {
    const more = { trainable_token_indices: [5, 200], save_strategy: "steps", save_steps: 2 };
    const recipe = recipeOf({ ...RUN, ...more });
    const model = await tinyModel();
    const straight = await train(gpu(), { recipe, model });
    const output = memoryFolder("out");
    const onEvent = (event: { type: string; step?: number }) => event.type === "step" && event.step === 3;
    const first = await train(gpu(), { recipe, model, output, onEvent });
    const other = recipeOf({ ...RUN, ...more, trainable_token_indices: [5, 201] });
    await expect(train(gpu(), { recipe: other, model, output, resume: true })).rejects.toThrow("tokens [5,200]");
    const second = await train(gpu(), { recipe, model, output, resume: true });
    const before = first.logs.filter(({ step }) => step <= 2);
    expect(learnt([...before, ...second.logs])).toEqual(learnt(straight.logs));
    const name = "adapter_model.safetensors";
    expect((await contents(output))[name]).toBe((await contents(straight.output))[name]);

    expect(straight.prepared.continued).toBe(false);
    const want = await (await loadModel(gpu(), await openCheckpoint(model))).logits(batch);
    const policy = straight.trainee.model;
    const trained = await policy.logits(batch);
    expect(relativeError(await policy.withoutAdapter().logits(batch), want)).toBeLessThan(2e-6);
    const kept = policy.withFrozenAdapter();
    for (const { name, size } of policy.store!.parameters) {
      policy.store!.write(gpu(), name, new Float32Array(size).fill(0.01));
    }
    expect([...(await kept.logits(batch))]).toEqual([...trained]);
    expect(relativeError(await policy.logits(batch), trained)).toBeGreaterThan(0.1);
  });

  it("counts the rows in the forecast", async () => {
    const { prepared } = await train(gpu(), { recipe: recipeOf({ ...RUN, max_steps: 1 }), model: await tinyModel() });
    const shared = { dtypeOf: () => "bf16" as const, optimizer: recipeOf(), adapter: { limits: gpu().limits } };
    const of = (lora: object) =>
      forecastSft({
        ...shared,
        ...{ config: prepared.config, steps: [[]], trained: { lora: { ...prepared.lora!, ...lora } } },
      }).trainable;
    expect(of({ trainable_token_indices: [5, 200, 3] }) - of({})).toBe(3 * 64);
  });

  it("refuses a file that lacks the rows, or has others", async () => {
    const model = await tinyModel();
    const recipe = recipeOf({ ...RUN, max_steps: 1, trainable_token_indices: [5, 200] });
    const { output } = await train(gpu(), { recipe, model });
    const { config } = await openModel(model);
    const json = JSON.parse(await output.readText("adapter_config.json"));
    const opened = async (trainable_token_indices: unknown) => {
      await output.write("adapter_config.json", JSON.stringify({ ...json, trainable_token_indices }));
      return openAdapterFor(config, output);
    };
    await expect(opened([5])).rejects.toThrow(
      "is [2,64]; this base model and its trainable_token_indices require [1,64]",
    );
    await expect(opened({ lm_head: [5, 200] })).rejects.toThrow("trainable_token_indices includes");
    await expect(opened({ lm_head: [5, 200] })).rejects.toThrow(FormatError);
  });
});
