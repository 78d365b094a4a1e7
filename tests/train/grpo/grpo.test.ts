import { describe, expect, it } from "vitest";
import { AbortError, DataError, FormatError, TrainingError } from "../../../src/errors.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import { eachCompletion, type NamedReward } from "../../../src/rewards/reward.ts";
import { prepareText } from "../../../src/session/generate.ts";
import { checkpointNames } from "../../../src/train/checkpoint.ts";
import { BUFFER_FILE } from "../../../src/train/grpo/buffer.ts";
import { tokenLogps } from "../../../src/train/grpo/objective.ts";
import { rollOut } from "../../../src/train/grpo/rollout.ts";
import { ownGpu } from "../../gpu/open.ts";
import { useGpu } from "../../kernels/harness.ts";
import { contents } from "../fixtures.ts";
import { grpoRecipe, learntGrpo, letters, sums, tinyChatModel, trainGrpo } from "./fixtures.ts";

describe("the GRPO trainer", () => {
  const gpu = useGpu();

  it("increases the reward, and logs TRL's names", async () => {
    const recipe = grpoRecipe({
      max_steps: 10,
      num_generations: 8,
      per_device_train_batch_size: 32,
      learning_rate: 3e-2,
    });
    const { logs, events } = await trainGrpo(gpu(), { recipe });
    const mean = (part: typeof logs) => part.reduce((sum, { reward }) => sum + reward, 0) / part.length;
    expect(mean(logs.slice(-3))).toBeGreaterThan(mean(logs.slice(0, 3)) + 1);
    expect(Object.keys(logs[0])).toEqual(
      expect.arrayContaining([
        ...["step", "loss", "grad_norm", "learning_rate", "num_tokens", "epoch", "step_time", "entropy"],
        ...["reward", "reward_std", "frac_reward_zero_std", "rewards/letters/mean", "rewards/letters/std"],
        ...["mean_length", "min_length", "max_length", "clipped_ratio", "mean_terminated_length"].map(
          (name) => `completions/${name}`,
        ),
        ...["low_mean", "low_min", "high_mean", "high_max", "region_mean"].map((name) => `clip_ratio/${name}`),
      ]),
    );
    expect(logs[0].kl).toBeUndefined();
    expect(logs.every((log) => Object.values(log).every(Number.isFinite))).toBe(true);
    const generated = events.flatMap((event) => (event.type === "generated" ? [event] : []));
    expect(generated.map(({ step }) => step)).toEqual(Array.from({ length: 10 }, (_, i) => i + 1));
    const [{ records }] = generated;
    expect(records).toHaveLength(32);
    expect(records[0].prompt).toMatch(/^<\|im_start\|>user\n\d+\+1=<\|im_end\|>\n<\|im_start\|>assistant\n$/);
    for (const group of [records.slice(0, 8), records.slice(24)]) {
      expect(new Set(group.map(({ prompt }) => prompt)).size).toBe(1);
      expect(group.reduce((sum, { advantage }) => sum + advantage, 0)).toBeCloseTo(0, 4);
    }
  });

  it("is on policy at its first iteration: log-probs of generation and of the trainer agree, every ratio is 1", async () => {
    const recipe = grpoRecipe({ beta: 0.1, num_iterations: 2, temperature: 0.8 });
    const { trainee, prepared, logs } = await trainGrpo(gpu(), { recipe });
    // old log-probs are kept (two iterations), so a ratio that is not 1 would show
    expect(logs[0]["clip_ratio/region_mean"]).toBe(0);
    expect(logs[0].kl).toBeLessThan(1e-9); // the initial adapter has no effect
    expect(logs[3].kl).toBeGreaterThan(1e-6);
    const { generations } = await rollOut(trainee.model, prepared.data, recipe, {
      rows: prepared.data.train.slice(0, 4),
      num_generations: 4,
      seed: 3,
      sequence: 0,
      step: 0,
    });
    const record = gpu().recorder();
    const taken = tokenLogps(
      record,
      trainee.model,
      generations.map(({ ids }, i) => ({
        prompt_ids: prepared.data.train[Math.floor(i / 4)].prompt_ids,
        completion_ids: ids,
      })),
      recipe,
    );
    record.submit();
    const { logps } = await taken;
    const worst = generations.map((own, i) => Math.max(...own.logps.map((v, t) => Math.abs(v - logps[i][t]))));
    expect(Math.max(...worst)).toBeLessThan(1e-4);
  });

  it.each([
    ["a generation batch a step", false, {}],
    ["a batch of four steps, gone through twice", true, { steps_per_generation: 4, num_iterations: 2 }],
    [
      "two batches a step, a reference, dropout",
      false,
      {
        gradient_accumulation_steps: 2,
        steps_per_generation: 1,
        beta: 0.05,
        lora_dropout: 0.2,
      },
    ],
    [
      "sequence-level ratios, masked truncation, logs that straddle the checkpoint",
      true,
      {
        importance_sampling_level: "sequence",
        num_iterations: 2,
        mask_truncated_completions: true,
        logging_steps: 2,
        loss_type: "grpo",
      },
    ],
  ])("resumes exactly with %s", async (_, midway, options) => {
    const recipe = grpoRecipe({ max_steps: 6, save_strategy: "steps", save_steps: 3, ...options });
    const model = await tinyChatModel([258, 97, 98, 99, 100, 101, 102]); // some completions end early
    const straight = await trainGrpo(gpu(), { recipe, model });
    const output = memoryFolder("out");
    const first = await trainGrpo(gpu(), {
      recipe,
      model,
      output,
      onEvent: (event) => event.type === "step" && event.step === 4,
    });
    expect(await checkpointNames(output)).toEqual(["checkpoint-3"]);
    const second = await trainGrpo(gpu(), { recipe, model, output, resume: true });
    expect(second.events[0]).toEqual({ type: "start", max_steps: 6, global_step: 3 });
    const before = first.logs.filter(({ step }) => step <= 3);
    expect(learntGrpo([...before, ...second.logs])).toEqual(learntGrpo(straight.logs));
    const [got, want] = [await contents(output), await contents(straight.output)];
    expect(got["adapter_model.safetensors"]).toBe(want["adapter_model.safetensors"]);
    expect(got["checkpoint-6/trainer_state.json"]).toBeDefined();
    expect(`checkpoint-3/${BUFFER_FILE}` in got).toBe(midway);
  });

  it("going on from an adapter, is compared with that adapter: in the first step, and after a resume", async () => {
    const model = await tinyChatModel();
    const first = await trainGrpo(gpu(), { recipe: grpoRecipe({ max_steps: 3 }), model });
    const values = { max_steps: 4, beta: 0.1, save_strategy: "steps", save_steps: 2, adapter_name_or_path: "first" };
    const recipe = grpoRecipe(values);
    const straight = await trainGrpo(gpu(), { recipe, model, adapter: first.output });
    expect(straight.logs[0].kl).toBeLessThan(1e-9);
    expect(straight.logs[3].kl).toBeGreaterThan(1e-5);
    const base = await trainGrpo(gpu(), { recipe: grpoRecipe({ max_steps: 1, beta: 0.1, learning_rate: 0 }), model });
    expect(base.logs[0].kl).toBeLessThan(1e-9); // a new adapter is the base
    const output = memoryFolder("out");
    await trainGrpo(gpu(), {
      recipe,
      model,
      adapter: first.output,
      output,
      onEvent: (event) => event.type === "checkpoint",
    });
    const rest = await trainGrpo(gpu(), { recipe, model, adapter: first.output, output, resume: true });
    expect(learntGrpo(rest.logs)).toEqual(learntGrpo(straight.logs.slice(2)));
  });

  it("keeps the entropy's control over a resume", async () => {
    const control = {
      use_adaptive_entropy: true,
      entropy_target: 20,
      entropy_coef_delta: 0.01,
      entropy_coef_max: 0.05,
    };
    const recipe = grpoRecipe({ max_steps: 6, save_strategy: "steps", save_steps: 3, ...control });
    const straight = await trainGrpo(gpu(), { recipe });
    expect(straight.logs.map(({ entropy_coef }) => Number(entropy_coef.toFixed(4)))).toEqual([
      0.01, 0.02, 0.03, 0.04, 0.05, 0.05,
    ]);
    expect(straight.logs[0].policy_loss).toBeCloseTo(straight.logs[0].loss, 6); // no bonus in the first step
    expect(straight.logs[1].policy_loss - straight.logs[1].loss).toBeCloseTo(0.01 * straight.logs[1].entropy, 5);
    const output = memoryFolder("out");
    await trainGrpo(gpu(), { recipe, output, onEvent: (event) => event.type === "step" && event.step === 4 });
    const rest = await trainGrpo(gpu(), { recipe, output, resume: true });
    expect(learntGrpo(rest.logs)).toEqual(learntGrpo(straight.logs.slice(3)));
  });

  it("after an AbortSignal while rewards are waited for: a checkpoint of the steps that were taken, then the same numbers", async () => {
    const recipe = grpoRecipe({ max_steps: 6 });
    const straight = await trainGrpo(gpu(), { recipe });
    const output = memoryFolder("out");
    const abort = new AbortController();
    let calls = 0;
    const slow: NamedReward = {
      name: "letters",
      reward: async (...args) => {
        if (++calls === 4) {
          abort.abort();
          await new Promise(() => {}); // a judge that has not answered yet
        }
        return letters.reward(...args);
      },
    };
    const stopped = trainGrpo(gpu(), { recipe, output, signal: abort.signal, rewards: [slow] });
    await expect(stopped).rejects.toThrow(new AbortError("Stopped after step 3 of 6; checkpoint-3 holds everything"));
    const rest = await trainGrpo(gpu(), { recipe, output, resume: true });
    expect(learntGrpo(rest.logs)).toEqual(learntGrpo(straight.logs.slice(3)));
  });

  it.each([
    [
      "throws",
      () => {
        throw new Error("no such column");
      },
      /Reward bad failed on row 1 of 8 \(prompt "\d+\+1=".*: Error: no such column/,
    ],
    ["returns too few", () => [1, 2], /Reward bad returned 2 rewards for 8 completions/],
    ["returns NaN", (p: readonly unknown[]) => p.map(() => Number.NaN), /Reward bad returned NaN for row 1 of 8/],
    [
      "never returns",
      () => new Promise<number[]>(() => {}),
      /Reward bad has not returned for 8 completions within 300 ms/,
    ],
  ])("a reward that %s at the third batch stops the run after a checkpoint", async (_, fault, message) => {
    const recipe = grpoRecipe({ reward_timeout: 0.3, reward_funcs: ["bad"] });
    const output = memoryFolder("out");
    let calls = 0;
    const bad: NamedReward = {
      name: "bad",
      reward: (prompts, completions, columns, context) =>
        ++calls < 3 ? letters.reward(prompts, completions, columns, context) : fault(prompts),
    };
    const failing = trainGrpo(gpu(), { recipe, output, rewards: [bad] });
    await expect(failing).rejects.toThrow(TrainingError);
    await expect(failing).rejects.toThrow(message);
    expect(await checkpointNames(output)).toEqual(["checkpoint-2"]);
    const mended: NamedReward = { name: "bad", reward: letters.reward };
    const rest = await trainGrpo(gpu(), { recipe, output, resume: true, rewards: [mended] });
    expect(rest.logs.map(({ step }) => step)).toEqual([3, 4]);
  });

  it("warns if every group has equal rewards, and changes nothing then", async () => {
    const flat: NamedReward = { name: "flat", reward: eachCompletion(() => 0.25) };
    const { events, logs, output } = await trainGrpo(gpu(), { recipe: grpoRecipe({ max_steps: 11 }), rewards: [flat] });
    const warnings = events.flatMap((event) => (event.type === "warning" ? [event.text] : []));
    expect(warnings).toHaveLength(2);
    expect(warnings[0]).toMatch(/^Step 1: all completions of each prompt got the same reward \(mean 0\.250\)/);
    expect(warnings[1]).toMatch(/^Step 10: .* for 10 generation batches in a row/);
    expect(logs.map(({ loss, grad_norm }) => [Math.abs(loss), grad_norm])).toEqual(Array(11).fill([0, 0]));
    expect(logs[0].frac_reward_zero_std).toBe(1);
    expect(await output.exists("adapter_model.safetensors")).toBe(true);
  });

  it("leaves out completions without a reward, and masked truncated completions", async () => {
    const none: NamedReward = { name: "none", reward: eachCompletion(() => null) };
    const { events, logs } = await trainGrpo(gpu(), { recipe: grpoRecipe({ max_steps: 1 }), rewards: [none] });
    const warnings = events.flatMap((event) => (event.type === "warning" ? [event.text] : []));
    expect(warnings.at(-1)).toBe(
      "Step 1: no reward function scored 8 of 8 completions; the model learns nothing from them",
    );
    expect(Math.abs(logs[0].loss)).toBe(0);
    const masked = await trainGrpo(gpu(), {
      recipe: grpoRecipe({ max_steps: 2, mask_truncated_completions: true, beta: 0.1 }),
      model: await tinyChatModel(256), // seldom drawn
    });
    expect(masked.logs.every((log) => Object.values(log).every(Number.isFinite))).toBe(true);
  });

  it("ends completions at stop strings, which are trained on and do not count as truncated", async () => {
    const stop_strings = [..."etaoinshr"];
    const recipe = grpoRecipe({
      stop_strings,
      max_steps: 1,
      max_completion_length: 24,
      mask_truncated_completions: true,
    });
    const { events, logs } = await trainGrpo(gpu(), { recipe });
    const records = events.flatMap((event) => (event.type === "generated" ? event.records : []));
    const ended = records.filter(({ completion }) => stop_strings.some((letter) => completion.includes(letter)));
    expect(ended.length).toBeGreaterThan(0);
    for (const { completion, finish_reason } of ended) {
      expect(finish_reason).toBe("stop");
      expect([...completion].filter((letter) => stop_strings.includes(letter))).toEqual([completion.at(-1)]);
    }
    const cut = records.filter(({ finish_reason }) => finish_reason === "length").length;
    expect(logs[0]["completions/clipped_ratio"]).toBeCloseTo(cut / records.length, 12);
  });

  it("measures rewards on evaluation prompts and ends with the best checkpoint", async () => {
    const recipe = grpoRecipe({
      max_steps: 4,
      eval_strategy: "steps",
      eval_steps: 2,
      save_strategy: "steps",
      save_steps: 2,
      load_best_model_at_end: true,
      per_device_eval_batch_size: 8,
    });
    const { evals, events } = await trainGrpo(gpu(), { recipe, evalRows: sums(3) });
    expect(evals.map(({ step }) => step)).toEqual([2, 4]);
    expect(evals[0].eval_reward).toBeGreaterThan(0);
    expect(evals[0]["eval_rewards/letters/mean"]).toBe(evals[0].eval_reward);
    expect(evals[0]["eval_completions/mean_length"]).toBeLessThanOrEqual(6);
    const best = evals[1].eval_reward > evals[0].eval_reward ? 4 : 2;
    expect(events).toContainEqual({ type: "best", name: `checkpoint-${best}` });
  });

  it.each([{}, { num_iterations: 2, beta: 0.1, max_completion_length: 60, per_device_train_batch_size: 16 }])(
    "forecasts its memory within a tenth: %j",
    async (values) => {
      const own = await ownGpu();
      const recipe = grpoRecipe({ max_steps: 3, ...values });
      const { prepared } = await trainGrpo(own, { recipe, model: await tinyChatModel(256) });
      const { peak } = own.pool.ledger;
      expect(Math.abs(prepared.forecast.peak / peak - 1)).toBeLessThan(0.1);
    },
  );

  it("trains every weight, and saves a model that can be opened with its tokenizer", async () => {
    const recipe = grpoRecipe({ max_steps: 2, use_peft: false, learning_rate: 1e-3 });
    const { output, prepared } = await trainGrpo(gpu(), { recipe });
    const again = await prepareText({ gpu: gpu(), model: output });
    expect(again.tokenizer.vocab_size).toBe(prepared.tokenizer.vocab_size);
    expect(again.eos_token_ids).toEqual([258]);
  });

  it("also ends completions at the chat template's end of turn", async () => {
    const { prepared } = await trainGrpo(gpu(), {
      recipe: grpoRecipe({ max_steps: 1 }),
      model: await tinyChatModel(256),
    });
    expect(prepared.data.eos_token_ids).toEqual([256, 258]);
  });

  it("is refused on other prompts or batch sizes; a damaged buffer is reported", async () => {
    const saved = { save_strategy: "steps", save_steps: 1, max_steps: 1, num_iterations: 2 };
    const { output } = await trainGrpo(gpu(), { recipe: grpoRecipe(saved) });
    const again = (values: Record<string, unknown>, rows = sums(20)) =>
      trainGrpo(gpu(), { recipe: grpoRecipe({ ...saved, max_steps: 2, ...values }), rows, output, resume: true });
    await expect(again({}, sums(19))).rejects.toThrow(DataError);
    await expect(again({ num_iterations: 3 })).rejects.toThrow(/other prompts, or with other batch sizes/);
    const folder = output.folder("checkpoint-1");
    const text = await folder.readText(BUFFER_FILE);
    await folder.write(BUFFER_FILE, text.slice(0, text.length >> 1));
    await expect(again({})).rejects.toThrow(
      /every checkpoint is damaged \(Cannot read out\/checkpoint-1\/generation_buffer/,
    );
    await expect(trainGrpo(gpu(), { recipe: grpoRecipe(saved), output, resume: folder })).rejects.toThrow(FormatError);
  });

  it("refuses an EOS id outside the vocabulary, only too long prompts, and lengths beyond the model's", async () => {
    await expect(trainGrpo(gpu(), { recipe: grpoRecipe(), model: await tinyChatModel(9999) })).rejects.toThrow(
      "Cannot end completions at eos_token_id 9999 of tiny: it is outside the vocabulary of 264",
    );
    await expect(trainGrpo(gpu(), { recipe: grpoRecipe({ max_prompt_length: 5 }) })).rejects.toThrow(
      /sums\.jsonl: all 20 prompts are longer than max_prompt_length 5; the shortest has \d+ tokens/,
    );
    await expect(trainGrpo(gpu(), { recipe: grpoRecipe({ max_completion_length: 100000 }) })).rejects.toThrow(
      /max_position_embeddings/,
    );
    const some = await trainGrpo(gpu(), {
      recipe: grpoRecipe({ max_prompt_length: 23, max_steps: 1 }),
      rows: sums(12),
    });
    expect(some.prepared.notes).toEqual(["2 training prompts left out: longer than max_prompt_length 23 tokens"]);
  });
});
