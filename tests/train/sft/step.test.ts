import { beforeAll, describe, expect, it } from "vitest";
import { makeBatch } from "../../../src/data/packing.ts";
import type { TokenizedRow } from "../../../src/data/tokenize.ts";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import type { Folder } from "../../../src/io/storage.ts";
import { relativeError } from "../../../src/kernels/check.ts";
import type { Trained } from "../../../src/model/build.ts";
import { initAdapter, loadModel } from "../../../src/model/files/load.ts";
import { shiftedTargets, type Transformer } from "../../../src/model/transformer.ts";
import { Optimizer } from "../../../src/train/optimizer.ts";
import { uniformFrom } from "../../../src/train/seed.ts";
import type { MicroBatch, SftBatches } from "../../../src/train/sft/batches.ts";
import { evalBatches, evaluate, type StepOptions, sftStep } from "../../../src/train/sft/step.ts";
import { useGpu } from "../../kernels/harness.ts";
import { integers, learnt, recipeOf, TINY, tinyModel, tinyRows, train } from "../fixtures.ts";

const OPTIMIZER = {
  optim: "adamw_torch",
  adam_beta1: 0.9,
  adam_beta2: 0.999,
  adam_epsilon: 1e-8,
  weight_decay: 0,
} as const;
const STEP: StepOptions = {
  step: 0,
  learning_rate: 0,
  max_grad_norm: 1e9,
  label_smoothing_factor: 0,
  neftune_noise_alpha: null,
  seed: 3,
};
const LORA = {
  r: 4,
  lora_alpha: 8,
  lora_dropout: 0,
  use_rslora: false,
  target_modules: ["q_proj", "v_proj", "down_proj"] as const,
};

const rows: TokenizedRow[] = tinyRows(8).map(({ row }) => row as unknown as TokenizedRow);
const micro = (of: readonly TokenizedRow[]): MicroBatch => {
  const batch = makeBatch(of);
  return { batch, targets: shiftedTargets(batch, batch.labels) };
};

describe("an optimizer step", () => {
  const gpu = useGpu();
  let folder: Folder;
  beforeAll(async () => {
    folder = await tinyModel();
  });
  const load = async (trained: Trained, from = folder): Promise<Transformer> => {
    const model = await loadModel(gpu(), await openCheckpoint(from), { trained });
    if (typeof trained === "object") {
      initAdapter(gpu(), model, uniformFrom(1));
      const next = integers(5);
      for (const { name, size } of model.store!.parameters)
        if (name.includes("lora_B"))
          // not zero, or lora_A would have no gradient
          model.store!.write(
            gpu(),
            name,
            Float32Array.from({ length: size }, () => (next(200) - 100) / 1000),
          );
    }
    return model;
  };
  const stepOf = async (
    model: Transformer,
    batches: MicroBatch[],
    options: Partial<StepOptions> = {},
    weight_decay = 0,
  ) => {
    const optimizer = new Optimizer(gpu(), model.store!, { ...OPTIMIZER, weight_decay });
    const result = await sftStep(gpu().recorder(), model, optimizer, batches, { ...STEP, ...options });
    const grads = new Map(
      model.store!.split(await gpu().read(model.store!.grads)).map(({ name, data }) => [name, data]),
    );
    const values = new Map(
      model.store!.split(await gpu().read(model.store!.values)).map(({ name, data }) => [name, data]),
    );
    return { result, grads, values };
  };

  it.each([
    ["LoRA", { lora: LORA }],
    ["full training", "all" as const],
  ])("%s: accumulating micro-batches equals one big batch, for any sizes", async (_, trained) => {
    const model = await load(trained);
    const whole = await stepOf(model, [micro(rows)]);
    const parts = await stepOf(model, [micro(rows.slice(0, 1)), micro(rows.slice(1, 6)), micro(rows.slice(6))]);
    expect(Math.abs(parts.result.loss / whole.result.loss - 1)).toBeLessThan(1e-6);
    expect(Math.abs(parts.result.grad_norm / whole.result.grad_norm - 1)).toBeLessThan(1e-5);
    for (const [name, want] of whole.grads)
      expect(relativeError(parts.grads.get(name)!, want), name).toBeLessThan(1e-5);
    expect(parts.result.tokens).toBe(whole.result.tokens);
  });

  it("packed rows have the same log-probs as when they run alone", async () => {
    const model = await load({ lora: LORA });
    const logp = async (of: readonly TokenizedRow[]) => {
      const { batch, targets } = micro(of);
      const record = gpu().recorder();
      const results = record.read(model.run(record, batch, targets, {}, null)!.logp);
      record.submit();
      return new Float32Array(await results);
    };
    const packed = await logp(rows);
    const alone = await Promise.all(rows.map((row) => logp([row])));
    expect(
      relativeError(
        packed,
        alone.flatMap((part) => [...part]),
      ),
    ).toBeLessThan(1e-6);
  });

  it("label smoothing follows (1 − ε)·CE + ε·mean over the vocabulary of −log p", async () => {
    const model = await load({ lora: LORA });
    const { batch, targets } = micro(rows);
    const logits = await model.logits(batch);
    const [epsilon, vocab] = [0.1, TINY.vocab_size];
    let [want, entropy, correct] = [0, 0, 0];
    targets.rows.forEach((row, i) => {
      const z = Float64Array.from(logits.subarray(row * vocab, (row + 1) * vocab));
      const most = Math.max(...z);
      const lse = most + Math.log(z.reduce((sum, v) => sum + Math.exp(v - most), 0));
      const mean = z.reduce((sum, v) => sum + (v - lse), 0) / vocab;
      want -= (1 - epsilon) * (z[targets.tokens[i]] - lse) + epsilon * mean;
      entropy -= z.reduce((sum, v) => sum + Math.exp(v - lse) * (v - lse), 0);
      if (z[targets.tokens[i]] === most) correct++;
    });
    const n = targets.rows.length;
    const { result } = await stepOf(model, [{ batch, targets }], { label_smoothing_factor: epsilon });
    expect(Math.abs(result.loss / (want / n) - 1)).toBeLessThan(1e-6);
    expect(Math.abs(result.entropy / (entropy / n) - 1)).toBeLessThan(1e-5);
    expect(Math.abs(result.mean_token_accuracy - correct / n)).toBeLessThan(1e-6);
    const measured = await evaluate(model, evalBatches(rows, 3), { labelSmoothing: epsilon });
    expect(Math.abs(measured.loss / (want / n) - 1)).toBeLessThan(1e-6);
    expect(Math.abs(measured.entropy / (entropy / n) - 1)).toBeLessThan(1e-5);
  });

  it("dft weighs each token by its own probability, in its gradient and in evaluations", async () => {
    const model = await load({ lora: LORA });
    const whole = micro(rows);
    const record = gpu().recorder();
    const read = record.read(model.run(record, whole.batch, whole.targets, {}, null)!.logp);
    record.submit();
    const logp = new Float32Array(await read);
    const want = logp.reduce((sum, lp) => sum - Math.exp(lp) * lp, 0) / logp.length;
    const dft = { loss_type: "dft", label_smoothing_factor: 0.1 } as const;
    const { result, grads } = await stepOf(model, [micro(rows.slice(0, 3)), micro(rows.slice(3))], dft);
    expect(Math.abs(result.loss / want - 1)).toBeLessThan(1e-5);
    const measured = await evaluate(model, evalBatches(rows, 3), { loss_type: "dft", labelSmoothing: 0.1 });
    expect(Math.abs(measured.loss / want - 1)).toBeLessThan(1e-5);
    // the gradient of Σ c·logp with c = −p/N
    const other = gpu().recorder();
    other.clear(model.store!.grads);
    const slope = logp.map((lp) => -Math.exp(lp) / logp.length);
    model.run(other, whole.batch, whole.targets, {}, (r, _rows, start, count) =>
      r.upload(slope.slice(start, start + count), [count], "d.logp"),
    );
    const flat = other.read(model.store!.grads);
    other.submit();
    for (const { name, data } of model.store!.split(await flat)) {
      expect(relativeError(grads.get(name)!, data), name).toBeLessThan(1e-4);
    }
  });

  it("weight decay spares biases and norms, and shrinks everything else by 1 − lr·wd", async () => {
    const model = await load("all");
    const before = model.store!.split(await gpu().read(model.store!.values));
    const unlabelled = { ...micro(rows), targets: { rows: new Uint32Array(), tokens: new Uint32Array() } };
    const { values, result } = await stepOf(model, [unlabelled], { learning_rate: 0.5 }, 0.2);
    expect(result).toMatchObject({ loss: 0, grad_norm: 0 });
    for (const { name, data } of before) {
      const factor = /norm|bias/.test(name) ? 1 : Math.fround(1 - 0.5 * 0.2);
      expect(
        relativeError(
          values.get(name)!,
          data.map((v) => v * factor),
        ),
        name,
      ).toBeLessThan(1e-7);
    }
  });

  it("LoRA matrices are all decayed", async () => {
    const model = await load({ lora: LORA });
    const before = model.store!.split(await gpu().read(model.store!.values));
    const unlabelled = { ...micro(rows), targets: { rows: new Uint32Array(), tokens: new Uint32Array() } };
    const { values } = await stepOf(model, [unlabelled], { learning_rate: 0.5 }, 0.2);
    for (const { name, data } of before)
      expect(
        relativeError(
          values.get(name)!,
          data.map((v) => v * 0.9),
        ),
        name,
      ).toBeLessThan(1e-6);
  });

  it("clipping scales the update, but not the reported norm", async () => {
    const model = await load({ lora: LORA });
    const free = await stepOf(model, [micro(rows)]);
    const clipped = await stepOf(model, [micro(rows)], { max_grad_norm: free.result.grad_norm / 10 });
    expect(clipped.result.grad_norm).toBe(free.result.grad_norm);
    let squares = 0;
    for (const data of free.grads.values()) for (const v of data) squares += v * v;
    expect(Math.abs(Math.sqrt(squares) / free.result.grad_norm - 1)).toBeLessThan(1e-5);
  });

  it("dropout and NEFTune's noise depend only on the seed and the step", async () => {
    const dropping = await load({ lora: { ...LORA, lora_dropout: 0.3 } });
    const loss = async (model: Transformer, options: Partial<StepOptions>) =>
      (await stepOf(model, [micro(rows)], options)).result.loss;
    const plain = await loss(await load({ lora: LORA }), {});
    for (const [model, noise] of [
      [dropping, null],
      [await load({ lora: LORA }), 5],
    ] as const) {
      const one = await loss(model, { neftune_noise_alpha: noise });
      expect(one).not.toBe(plain);
      expect(Math.abs(one / plain - 1)).toBeLessThan(0.5);
      expect(await loss(model, { neftune_noise_alpha: noise })).toBe(one);
      expect(await loss(model, { neftune_noise_alpha: noise, seed: 4 })).not.toBe(one);
      expect(await loss(model, { neftune_noise_alpha: noise, step: 1 })).not.toBe(one);
    }
    expect((await evaluate(dropping, [micro(rows)])).loss).toBeCloseTo(plain, 6);
  });
});

describe("runs", () => {
  const gpu = useGpu();

  it("the loss falls on repeated rows, with LoRA and full training, on qwen2 and qwen3", async () => {
    const qwen3 = await tinyModel({ ...TINY, model_type: "qwen3", head_dim: 24, tie_word_embeddings: false });
    for (const model of [await tinyModel(), qwen3]) {
      for (const options of [{ lora_r: 8 }, { use_peft: false, learning_rate: 3e-3 }]) {
        const recipe = recipeOf({ max_steps: 15, lr_scheduler_type: "constant", ...options });
        const { logs } = await train(gpu(), { recipe, model, rows: tinyRows(4) });
        expect(logs[14].loss, JSON.stringify(options)).toBeLessThan(0.5 * logs[0].loss);
        expect(logs[14].epoch).toBe(15);
      }
    }
  });

  it("evaluation of the training rows gives the training loss if the learning rate is zero", async () => {
    const rows = tinyRows(8);
    const recipe = recipeOf({
      learning_rate: 0,
      max_steps: 1,
      per_device_train_batch_size: 8,
      eval_strategy: "steps",
      eval_steps: 1,
      per_device_eval_batch_size: 3,
    });
    const { logs, evals } = await train(gpu(), { recipe, rows, evalRows: rows });
    expect(Math.abs(evals[0].eval_loss / logs[0].loss - 1)).toBeLessThan(1e-6);
    expect(evals[0].eval_mean_token_accuracy).toBeCloseTo(logs[0].mean_token_accuracy, 6);
    expect(evals[0].eval_entropy).toBeCloseTo(logs[0].entropy, 5);
  });

  it("packing gives the loss of the same rows unpacked, in one batch", async () => {
    const rows = tinyRows(6, { longest: 10 });
    const options = { learning_rate: 0, max_steps: 1, per_device_train_batch_size: 6 };
    const plain = await train(gpu(), { recipe: recipeOf(options), rows });
    const packed = await train(gpu(), { recipe: recipeOf({ ...options, packing: true, max_length: 24 }), rows });
    expect((packed.prepared.batches as SftBatches).examples.length).toBeLessThan(6);
    expect(packed.logs[0].num_tokens).toBe(plain.logs[0].num_tokens);
    expect(Math.abs(packed.logs[0].loss / plain.logs[0].loss - 1)).toBeLessThan(1e-6);
  });

  it("logging every third step gives the mean of three, and always includes the last step", async () => {
    const each = await train(gpu(), { recipe: recipeOf({ max_steps: 7 }) });
    const third = await train(gpu(), { recipe: recipeOf({ max_steps: 7, logging_steps: 3 }) });
    expect(third.logs.map(({ step }) => step)).toEqual([3, 6, 7]);
    const mean = each.logs.slice(3, 6).reduce((sum, { loss }) => sum + loss, 0) / 3;
    expect(third.logs[1].loss).toBeCloseTo(mean, 12);
    expect(third.logs[2].loss).toBe(each.logs[6].loss);
    expect(third.logs[1].grad_norm).toBe(each.logs[5].grad_norm);
  });

  it("the same recipe gives the same numbers twice", async () => {
    const recipe = recipeOf({ max_steps: 4, lora_dropout: 0.2 });
    const [one, two] = [await train(gpu(), { recipe }), await train(gpu(), { recipe })];
    expect(learnt(two.logs)).toEqual(learnt(one.logs));
  });

  it("an epoch visits every row once; num_train_epochs decides the steps", async () => {
    const recipe = recipeOf({ max_steps: -1, num_train_epochs: 1.5, gradient_accumulation_steps: 2 });
    const rows = tinyRows(20);
    const { prepared } = await train(gpu(), { recipe, rows });
    expect(prepared.batches.stepsPerEpoch).toBe(3);
    expect(prepared.batches.max_steps).toBe(5);
    const batches = prepared.batches as SftBatches;
    const seen = [0, 1, 2].flatMap((step) => batches.step(step)).flatMap(({ batch }) => [...batch.input_ids]);
    const all = rows.flatMap(({ row }) => row.input_ids as number[]);
    expect(seen.sort((a, b) => a - b)).toEqual(all.sort((a, b) => a - b));
  });
});
