import { describe, expect, it } from "vitest";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { parseRecipe } from "../../../src/recipe/recipe.ts";
import { loadDpo, prepareDpo } from "../../../src/session/dpo.ts";
import { dpoObjective } from "../../../src/train/dpo/objective.ts";
import { useGpu } from "../../kernels/harness.ts";
import { contents, integers, learnt, tensorsOf, tinyModel } from "../fixtures.ts";
import { dpoRecipe, pairRows, train } from "./fixtures.ts";

const gpu = useGpu();

describe("a DPO run", () => {
  it("begins at ln 2 with no margin, logs TRL's names, and parts what is chosen from what is rejected", async () => {
    const { logs, evals } = await train(gpu(), {
      recipe: dpoRecipe({ max_steps: 12, eval_strategy: "steps", eval_steps: 6, per_device_eval_batch_size: 4 }),
      evalRows: pairRows(6),
    });
    expect(logs[0]["rewards/margins"]).toBeCloseTo(0, 6);
    expect(logs[0].loss).toBeCloseTo(Math.LN2, 6);
    const names =
      "loss grad_norm learning_rate entropy logits/chosen logits/rejected mean_token_accuracy rewards/chosen rewards/rejected rewards/accuracies rewards/margins logps/chosen logps/rejected num_tokens epoch";
    expect(Object.keys(logs[0])).toEqual(expect.arrayContaining(names.split(" ")));
    expect(logs.at(-1)!["rewards/margins"]).toBeGreaterThan(0.1);
    expect(logs.at(-1)!.loss).toBeLessThan(0.65);
    expect(evals).toHaveLength(2);
    // pairs that are trained on as well
    expect(evals[1].eval_loss).toBeLessThan(evals[0].eval_loss);
    expect(evals[1]["eval_rewards/accuracies"]).toBeGreaterThan(0.6);
  });

  it("does not depend on how a step is cut into micro-batches of one size", async () => {
    const whole = await train(gpu(), { recipe: dpoRecipe({ per_device_train_batch_size: 4, max_steps: 3 }) });
    const cut = await train(gpu(), {
      recipe: dpoRecipe({ per_device_train_batch_size: 2, gradient_accumulation_steps: 2, max_steps: 3 }),
    });
    cut.logs.forEach((log, i) => {
      expect(log.loss).toBeCloseTo(whole.logs[i].loss, 5);
      expect(log.grad_norm).toBeCloseTo(whole.logs[i].grad_norm, 4);
      expect(log["rewards/margins"]).toBeCloseTo(whole.logs[i]["rewards/margins"], 4);
    });
  });

  it("resumes with the same numbers and bytes, wherever it was left", async () => {
    const saved = { save_strategy: "steps", save_steps: 2, logging_steps: 3, eval_strategy: "epoch" };
    const run = { recipe: dpoRecipe(saved), evalRows: pairRows(3, 5) };
    const straight = await train(gpu(), run);
    const output = memoryFolder("out");
    await train(gpu(), { ...run, output, onEvent: (event) => event.type === "checkpoint" });
    const again = await train(gpu(), { ...run, output, resume: true });
    expect(learnt(again.logs)).toEqual(learnt(straight.logs));
    expect((await contents(again.output))["adapter_model.safetensors"]).toBe(
      (await contents(straight.output))["adapter_model.safetensors"],
    );
  });

  it("takes the reference's log-probs beforehand to the same end, resumed too", async () => {
    const save = { save_strategy: "steps", save_steps: 3 };
    const each = await train(gpu(), { recipe: dpoRecipe(save), evalRows: pairRows(3, 5) });
    const early = { ...save, precompute_ref_log_probs: true, precompute_ref_batch_size: 5, eval_strategy: "epoch" };
    const run = { recipe: dpoRecipe(early), evalRows: pairRows(3, 5) };
    const output = memoryFolder("out");
    await train(gpu(), { ...run, output, onEvent: (event) => event.type === "checkpoint" });
    const again = await train(gpu(), { ...run, output, resume: true });
    for (const [i, log] of again.logs.entries()) expect(log.loss).toBeCloseTo(each.logs[i + 3].loss, 5);
  });

  it("compares an adapter that it goes on from with that adapter as it was", async () => {
    const first = await train(gpu(), { recipe: dpoRecipe() });
    const second = await train(gpu(), { recipe: dpoRecipe({ max_steps: 2 }), adapter: first.output });
    expect(second.prepared.data.continued).toBe(true);
    expect(second.logs[0]["rewards/margins"]).toBeCloseTo(0, 6);
    expect(second.logs[1]["rewards/margins"]).not.toBeCloseTo(0, 4);
    // the adapter has changed, so the base is another reference
    expect(second.logs[0]["logps/chosen"]).not.toBeCloseTo(first.logs[0]["logps/chosen"], 2);
  });

  it("trains all weights with a reference that was taken beforehand", async () => {
    const { logs, output } = await train(gpu(), {
      recipe: dpoRecipe({ use_peft: false, precompute_ref_log_probs: true, learning_rate: 1e-3 }),
    });
    expect(logs[0].loss).toBeCloseTo(Math.LN2, 6);
    expect(logs.at(-1)!["rewards/margins"]).toBeGreaterThan(0.05);
    expect((await tensorsOf(output, "model.safetensors")).size).toBeGreaterThan(10);
  });
});

describe("the objective", () => {
  it("is the same where the head takes more chunks than one", async () => {
    const model = await tinyModel();
    const recipe = dpoRecipe();
    const prepared = await prepareDpo(recipe, { gpu: gpu(), model, train: pairRows(6) });
    const results = async (logitsBytes: number) => {
      const { profile } = gpu();
      const before = profile.logitsBytes;
      (profile as { logitsBytes: number }).logitsBytes = logitsBytes;
      try {
        const trainee = await loadDpo(recipe, prepared, { gpu: gpu() }, "tiny");
        const store = trainee.model.store!;
        const next = integers(9);
        for (const { name, size } of store.parameters) {
          store.write(
            gpu(),
            name,
            Float32Array.from({ length: size }, () => (next(200) - 100) / 500),
          );
        }
        const record = gpu().recorder();
        record.clear(store.grads);
        const reference = trainee.model.withoutAdapter();
        const training = { micros: 1, dropoutSeed: null };
        const pending = dpoObjective(record, trainee.model, reference, prepared.data.train, recipe, training);
        const grads = record.read(store.grads);
        record.submit();
        return { ...(await pending), grads: new Float32Array(await grads) };
      } finally {
        (profile as { logitsBytes: number }).logitsBytes = before;
      }
    };
    const [whole, parts] = [await results(2 ** 26), await results(4 * 256 * 8)];
    expect(parts.loss).toBeCloseTo(whole.loss, 6);
    const most = whole.grads.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
    const off = whole.grads.reduce((m, v, i) => Math.max(m, Math.abs(v - parts.grads[i])), 0);
    expect(most).toBeGreaterThan(0);
    expect(off / most).toBeLessThan(1e-5);
  });
});

describe("a recipe for DPO", () => {
  const notes = (values: Record<string, unknown>) => parseRecipe(values, "dpo").notes;
  it("has TRL's defaults", () => {
    expect(parseRecipe({}, "dpo")).toMatchObject({
      recipe: { beta: 0.1, loss_type: "sigmoid", learning_rate: 1e-6, max_length: 1024, lora_dropout: 0 },
      notes: [],
    });
    expect(parseRecipe({ disable_dropout: false }, "dpo").recipe.lora_dropout).toBe(0.05);
  });

  it("refuses what cannot be, and says what changes nothing", () => {
    const refused = (values: Record<string, unknown>) => expect(() => parseRecipe(values, "dpo"));
    refused({ use_peft: false }).toThrow("precompute_ref_log_probs must be true if use_peft is false");
    refused({ loss_type: "exo_pair" }).toThrow("label_smoothing must be above 0");
    refused({ loss_type: "aot" }).toThrow("sorting the pairs");
    refused({ beta: 0 }).toThrow("beta must be a number above 0");
    refused({ num_generations: 4 }).toThrow("belongs to grpo, not to dpo");
    refused({ sync_ref_model: true }).toThrow("sync_ref_model cannot be used (got true)");
    expect(notes({ label_smoothing: 0.1 })).toEqual([expect.stringContaining("label_smoothing is ignored: sigmoid")]);
    expect(notes({ label_smoothing: 0.1, loss_type: "robust" })).toEqual([]);
    expect(notes({ f_divergence_type: "reverse_kl", padding_free: true })).toHaveLength(1);
  });
});
