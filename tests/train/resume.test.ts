import { describe, expect, it } from "vitest";
import { AbortError, DataError, FormatError, GpuError, NotFoundError, TrainingError } from "../../src/errors.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { checkpointNames } from "../../src/train/checkpoint.ts";
import { ownGpu } from "../gpu/open.ts";
import { useGpu } from "../kernels/harness.ts";
import { contents, learnt, recipeOf, tensorsOf, tinyRows, train } from "./fixtures.ts";
import { RANDOM, resumesExactly } from "./resume.ts";

describe("an exact resume", () => {
  const gpu = useGpu();

  it.each([
    ["LoRA with dropout and NEFTune", {}],
    ["DoRA with dropout", { use_dora: true }],
    ["full training", { use_peft: false, learning_rate: 1e-3 }],
    ["a base in 4 bits", { load_in_4bit: true, use_bnb_nested_quant: true }],
    ["full training with adamw_8bit", { use_peft: false, learning_rate: 1e-3, optim: "adamw_8bit" }],
    [
      "full training with muon",
      { use_peft: false, learning_rate: 1e-3, optim: "muon", optim_args: "ns_steps=3", weight_decay: 0.1 },
    ],
    ["full training with sgd", { use_peft: false, learning_rate: 1e-2, optim: "sgd" }],
    [
      "accumulation, packing, logs that straddle the checkpoint",
      {
        gradient_accumulation_steps: 2,
        per_device_train_batch_size: 1,
        packing: true,
        max_length: 32,
        logging_steps: 3,
      },
    ],
  ])("%s: four uninterrupted steps equal two, a kill during the third, and two more", async (_, options) => {
    await resumesExactly(gpu(), options);
  });

  it("after an AbortSignal: a checkpoint at the step boundary, AbortError, and then the same losses", async () => {
    const recipe = recipeOf(RANDOM);
    const straight = await train(gpu(), { recipe });
    const output = memoryFolder("out");
    const abort = new AbortController();
    const logs: string[] = [];
    const stopped = train(gpu(), {
      recipe,
      output,
      signal: abort.signal,
      onEvent: (event) => {
        if (event.type === "log") logs.push(...learnt([event.record]));
        if (event.type === "step" && event.step === 3) abort.abort();
        return undefined;
      },
    });
    await expect(stopped).rejects.toThrow(AbortError);
    const [name] = await checkpointNames(output);
    expect(["checkpoint-4", "checkpoint-5"]).toContain(name);
    expect(await output.exists("adapter_model.safetensors")).toBe(false);
    const rest = await train(gpu(), { recipe, output, resume: true });
    expect([...logs, ...learnt(rest.logs)]).toEqual(learnt(straight.logs));
  });

  it("falls back to the previous checkpoint if any file of the newest is damaged", async () => {
    const recipe = recipeOf({ ...RANDOM, save_strategy: "steps", save_steps: 2, max_steps: 6 });
    const whole = await train(gpu(), { recipe });
    for (const damage of ["adapter_model.safetensors", "optimizer.safetensors", "trainer_state.json"]) {
      const output = memoryFolder("out");
      await train(gpu(), { recipe, output });
      const newest = output.folder("checkpoint-6");
      const source = await newest.open(damage);
      await newest.write(damage, await source.read(0, source.size >> 1));
      const again = await train(gpu(), { recipe, output, resume: true });
      expect(again.events[0], damage).toMatchObject({ global_step: 4 });
      expect(learnt(again.logs), damage).toEqual(learnt(whole.logs.slice(4)));
      expect((await contents(output))["checkpoint-6/adapter_model.safetensors"]).toBe(
        (await contents(whole.output))["checkpoint-6/adapter_model.safetensors"],
      );
    }
  });

  it("refuses a folder without checkpoints, or with damaged ones only", async () => {
    const recipe = recipeOf();
    await expect(train(gpu(), { recipe, resume: true })).rejects.toThrow(
      new NotFoundError("Cannot resume in out: it holds no checkpoint-{step} folder"),
    );
    const output = memoryFolder("out");
    await output.folder("checkpoint-3").write("trainer_state.json", '{"global_step": 3, "qwench": {"version": 1}}');
    const before = await contents(output);
    await expect(train(gpu(), { recipe, output, resume: true })).rejects.toThrow(
      /every checkpoint is damaged \(.*checkpoint-3/,
    );
    await expect(train(gpu(), { recipe, output, resume: output.folder("checkpoint-3") })).rejects.toThrow(FormatError);
    expect(await contents(output)).toEqual(before);
  });

  it("is refused on other rows, other labels, another adapter shape or another optimizer; nothing is changed", async () => {
    const saved = { save_strategy: "steps", save_steps: 2, max_steps: 2, lora_alpha: 8 };
    const { output } = await train(gpu(), { recipe: recipeOf(saved) });
    const before = await contents(output);
    const resume = (values: Record<string, unknown>, rows = tinyRows(40)) =>
      train(gpu(), { recipe: recipeOf({ ...saved, max_steps: 4, ...values }), rows, output, resume: true });
    await expect(resume({}, tinyRows(40, { seed: 8 }))).rejects.toThrow(
      new DataError(
        "Cannot resume from out/checkpoint-2: it was trained on other rows, or on the same rows with other truncation or packing",
      ),
    );
    const relabelled = tinyRows(40);
    (relabelled[3].row.labels as number[]).splice(-1, 1, -100);
    await expect(resume({}, relabelled)).rejects.toThrow(DataError);
    await expect(resume({ lora_r: 8 })).rejects.toThrow(/holds lora_r 4, .* but this run is lora_r 8, /);
    await expect(resume({ lora_alpha: 16 })).rejects.toThrow(/lora_alpha 8.*lora_alpha 16/);
    await expect(resume({ lora_target_modules: ["q_proj"] })).rejects.toThrow(/on down_proj.* on q_proj$/);
    await expect(resume({ optim: "adamw_8bit", lora_r: 64 })).rejects.toThrow(FormatError);
    await expect(resume({ use_peft: false })).rejects.toThrow(/model\.safetensors|no such/);
    expect(await contents(output)).toEqual(before);
  });
});

describe("checkpoints", () => {
  const gpu = useGpu();

  it("save_total_limit keeps the newest and the best; load_best_model_at_end restores the best", async () => {
    // the comparison is inverted: the first checkpoint counts as the best while the loss falls
    const recipe = recipeOf({
      max_steps: 8,
      lr_scheduler_type: "constant",
      eval_strategy: "steps",
      eval_steps: 2,
      save_strategy: "steps",
      save_steps: 2,
      save_total_limit: 2,
      load_best_model_at_end: true,
      greater_is_better: true,
    });
    const rows = tinyRows(4);
    const { output, evals, events } = await train(gpu(), { recipe, rows, evalRows: rows });
    expect(evals.map(({ step }) => step)).toEqual([2, 4, 6, 8]);
    const losses = evals.map(({ eval_loss }) => eval_loss);
    const best = 2;
    expect(Math.max(...losses)).toBe(losses[0]);
    expect(await checkpointNames(output)).toEqual([`checkpoint-${best}`, "checkpoint-8"]);
    expect(events).toContainEqual({ type: "best", name: `checkpoint-${best}` });
    const files = await contents(output);
    expect(files["adapter_model.safetensors"]).toBe(files[`checkpoint-${best}/adapter_model.safetensors`]);
    expect(files["adapter_model.safetensors"]).not.toBe(files["checkpoint-8/adapter_model.safetensors"]);
    const state = JSON.parse(await output.folder("checkpoint-8").readText("trainer_state.json"));
    expect(state).toMatchObject({
      global_step: 8,
      best_metric: losses[0],
      best_model_checkpoint: `checkpoint-${best}`,
    });
    expect(state.log_history).toHaveLength(12);
  });

  it("greater_is_better inverts the comparison, and another metric may decide", async () => {
    const recipe = recipeOf({
      max_steps: 4,
      eval_strategy: "steps",
      eval_steps: 1,
      save_strategy: "steps",
      save_steps: 1,
      save_total_limit: 1,
      load_best_model_at_end: true,
      metric_for_best_model: "entropy",
      greater_is_better: true,
    });
    const { evals, events } = await train(gpu(), { recipe, evalRows: tinyRows(6, { seed: 99 }) });
    const entropies = evals.map(({ eval_entropy }) => eval_entropy);
    const best = entropies.indexOf(Math.max(...entropies)) + 1;
    expect(events).toContainEqual({ type: "best", name: `checkpoint-${best}` });
    const wrong = recipeOf({ max_steps: 1, eval_strategy: "steps", metric_for_best_model: "bleu" });
    await expect(train(gpu(), { recipe: wrong, evalRows: tinyRows(2) })).rejects.toThrow(
      /no metric eval_bleu for metric_for_best_model; evaluation reports .*eval_loss/,
    );
  });

  it("save_strategy epoch saves at each epoch's end, and at the last step", async () => {
    const recipe = recipeOf({ save_strategy: "epoch", max_steps: 7 });
    const { output } = await train(gpu(), { recipe, rows: tinyRows(12) });
    expect(await checkpointNames(output)).toEqual(["checkpoint-3", "checkpoint-6", "checkpoint-7"]);
  });
});

describe("errors in training", () => {
  const gpu = useGpu();

  it("a loss that is not finite stops at its step; the previous checkpoint is intact and can be resumed", async () => {
    const output = memoryFolder("out");
    const saved = { save_strategy: "steps", save_steps: 3, lr_scheduler_type: "constant" };
    await train(gpu(), { recipe: recipeOf({ ...saved, max_steps: 3 }), output });
    const before = await contents(output.folder("checkpoint-3"));
    const wild = recipeOf({ ...saved, max_steps: 8, learning_rate: 1e30, save_steps: 4 });
    const stopped = train(gpu(), { recipe: wild, output, resume: true });
    await expect(stopped).rejects.toThrow(TrainingError);
    await expect(stopped).rejects.toThrow(/Training stopped at step [56]: loss |Cannot save /);
    expect(await contents(output.folder("checkpoint-3"))).toEqual(before);
    const healed = await train(gpu(), {
      recipe: recipeOf({ ...saved, max_steps: 5 }),
      output,
      resume: output.folder("checkpoint-3"),
    });
    expect(healed.logs.map(({ step }) => step)).toEqual([4, 5]);
    expect(healed.logs.every(({ loss }) => loss > 0 && loss < 20)).toBe(true);
  });

  it.each([[{}], [{ use_peft: false }]])("never overwrites good weights with NaN: %o", async (options) => {
    const output = memoryFolder("out");
    const saved = { save_strategy: "steps", save_steps: 1, save_total_limit: 1, ...options };
    const good = { ...saved, learning_rate: 1e-4, lr_scheduler_type: "constant" };
    await train(gpu(), { recipe: recipeOf({ ...good, max_steps: 1 }), output });
    const before = await contents(output);
    // beyond f32: the first update gives infinities, although its loss was finite
    const wild = recipeOf({ ...good, max_steps: 5, learning_rate: 1e39 });
    const stopped = train(gpu(), { recipe: wild, output, resume: true });
    await expect(stopped).rejects.toThrow(/^Cannot save .* training left a value in it that is not finite/);
    const after = await contents(output);
    expect(Object.fromEntries(Object.entries(after).filter(([name]) => name in before))).toEqual(before);
    expect(await checkpointNames(output)).toEqual(["checkpoint-1"]);
  });

  it("a device that is destroyed in the middle ends the run with a GpuError", async () => {
    const own = await ownGpu();
    const run = train(own, {
      recipe: recipeOf({ max_steps: 1000 }),
      onEvent: (event) => {
        if (event.type === "step" && event.step === 3) own.device.destroy();
        return undefined;
      },
    });
    await expect(run).rejects.toThrow(GpuError);
  });
});

describe("what a run writes", () => {
  const gpu = useGpu();

  it("an adapter is initialised as in PEFT: B is zero, A is uniform within 1/√in, from the seed", async () => {
    const at = async (seed: number) => {
      const { output } = await train(gpu(), { recipe: recipeOf({ max_steps: 1, learning_rate: 0, seed }) });
      return tensorsOf(output, "adapter_model.safetensors");
    };
    const [one, same, other] = [await at(1), await at(1), await at(2)];
    expect(one.size).toBe(2 * 7 * 2);
    for (const [name, data] of one) {
      if (name.includes("lora_B")) expect(data.every((v) => v === 0)).toBe(true);
      else {
        const inner = name.includes("down_proj") ? 160 : 64;
        const most = data.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
        expect(most).toBeLessThanOrEqual(1 / Math.sqrt(inner));
        expect(most).toBeGreaterThan(0.9 / Math.sqrt(inner));
        expect(Math.abs(data.reduce((s, v) => s + v, 0) / data.length)).toBeLessThan(0.15 / Math.sqrt(inner));
      }
      expect(same.get(name)).toEqual(data);
    }
    const key = [...one.keys()].find((name) => name.includes("lora_A"))!;
    expect(other.get(key)).not.toEqual(one.get(key));
  });
});
