import { beforeAll, describe, expect, it } from "vitest";
import { makeBatch } from "../../../src/data/packing.ts";
import type { TokenizedRow } from "../../../src/data/tokenize.ts";
import { FormatError, UnsupportedError } from "../../../src/errors.ts";
import type { Gpu } from "../../../src/gpu/device.ts";
import { openCheckpoint } from "../../../src/io/checkpoint.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import {
  bytesOf,
  encodeSafetensors,
  f32ToBf16,
  f32ToF16,
  openSafetensors,
  toFloat32,
} from "../../../src/io/safetensors.ts";
import type { Folder } from "../../../src/io/storage.ts";
import { relativeError } from "../../../src/kernels/check.ts";
import { targetModules, targetsOf } from "../../../src/model/adapters/targets.ts";
import { checkTensors } from "../../../src/model/build.ts";
import { parseModelConfig } from "../../../src/model/config.ts";
import { fillAdapter, loadModel, openAdapterFor } from "../../../src/model/files/load.ts";
import { shiftedTargets } from "../../../src/model/transformer.ts";
import { Optimizer } from "../../../src/train/optimizer.ts";
import { sftStep } from "../../../src/train/sft/step.ts";
import { ownGpu } from "../../gpu/open.ts";
import { useGpu } from "../../kernels/harness.ts";
import { recipeOf, TINY, tensorsOf, tinyModel, tinyRows, train } from "../../train/fixtures.ts";
import { PROJECTIONS } from "../projections.ts";

const rows = tinyRows(3).map(({ row }) => row as unknown as TokenizedRow);
const batch = makeBatch(rows);

type Dtype = "F32" | "F16" | "BF16";

/** The checkpoint with every tensor passed through `change` and stored in another dtype. */
async function rewrite(
  from: Folder,
  dtype: Dtype,
  change: (name: string, data: Float32Array) => Float32Array = (_, d) => d,
): Promise<Folder> {
  const to = memoryFolder(`as ${dtype}`);
  const file = await openSafetensors(await from.open("model.safetensors"));
  const tensors = [];
  for (const [name, { dtype: stored, shape }] of file.tensors) {
    const values = change(name, toFloat32(await file.read(name), stored));
    const data = dtype === "F32" ? values : dtype === "F16" ? f32ToF16(values) : f32ToBf16(values);
    tensors.push({ name, dtype, shape, data: bytesOf(data) });
  }
  await to.write("model.safetensors", encodeSafetensors(tensors));
  await to.write("config.json", await from.readText("config.json"));
  return to;
}

describe("loading", () => {
  const gpu = useGpu();
  let folder: Folder;
  beforeAll(async () => {
    folder = await tinyModel();
  });
  const logits = async (from: Folder, dtype: "auto" | "float32" | "float16" | "bfloat16" = "auto", on: Gpu = gpu()) =>
    (await loadModel(on, await openCheckpoint(from), { dtype })).logits(batch);

  it("bf16 weights give the same result as their exact f32 values", async () => {
    const wide = await rewrite(folder, "F32");
    const want = await logits(wide);
    expect(relativeError(await logits(folder), want)).toBeLessThan(1e-6);
    expect(relativeError(await logits(folder, "float32"), want)).toBeLessThan(1e-6);
    expect(relativeError(await logits(wide, "bfloat16"), want)).toBeLessThan(1e-6);
  });

  it("f16 weights give the same result as their exact f32 values, kept or widened", async () => {
    const half = await rewrite(folder, "F16");
    const wide = await rewrite(half, "F32");
    const want = await logits(wide);
    expect(relativeError(await logits(half), want)).toBeLessThan(gpu().features.f16 ? 1e-3 : 1e-6);
    expect(relativeError(await logits(half, "float32"), want)).toBeLessThan(1e-6);
    const without = await ownGpu({ disable: ["f16"] });
    expect(relativeError(await logits(half, "auto", without), want)).toBeLessThan(1e-6);
    await expect(logits(half, "float16", without)).rejects.toThrow(
      /^Cannot keep weights in float16: .* has no shader-f16/,
    );
    without.destroy();
  });

  it("rounds to bf16 on request", async () => {
    const fine = await rewrite(folder, "F32", (_, data) => data.map((v) => v * 1.001));
    const coarse = await rewrite(fine, "BF16");
    expect(relativeError(await logits(fine, "bfloat16"), await logits(coarse))).toBe(0);
    expect(relativeError(await logits(fine, "bfloat16"), await logits(fine))).toBeGreaterThan(1e-5);
  });

  it("refuses values outside the requested dtype's range, by tensor and element", async () => {
    const large = await rewrite(folder, "F32", (name, data) =>
      name === "model.norm.weight" ? data.map((v, i) => (i === 7 ? 1e6 : v)) : data,
    );
    if (gpu().features.f16) {
      await expect(logits(large, "float16")).rejects.toThrow(
        /as float16: model\.norm\.weight holds a value outside f16's range, at element 7 of \[64\]/,
      );
    } else await expect(logits(large, "float16")).rejects.toThrow(UnsupportedError);
    expect((await logits(large)).every(Number.isFinite)).toBe(true);
  });

  it.each(["F32", "F16", "BF16"] as const)("names the %s tensor that holds NaN or infinity", async (dtype) => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const bad = await rewrite(folder, dtype, (name, data) => {
        if (name === "model.layers.1.mlp.up_proj.weight") data[1234] = value;
        return data;
      });
      await expect(logits(bad)).rejects.toThrow(
        new FormatError(
          `Cannot load as ${dtype}: model.layers.1.mlp.up_proj.weight holds a value that is not finite, at element 1234 of [160,64]`,
        ),
      );
    }
  });

  it("an embedding in shards gives the same logits, log-probs and gradients as a whole one", async () => {
    const model = await tinyModel({ ...TINY, vocab_size: 2000, tie_word_embeddings: true });
    const untied = await tinyModel({ ...TINY, vocab_size: 2000, tie_word_embeddings: false });
    const cut = await ownGpu();
    const { limits } = cut;
    const { maxBufferSize, maxComputeWorkgroupsPerDimension, maxStorageBuffersPerShaderStage } = limits;
    const { maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupSizeX } = limits;
    const small = {
      maxBufferSize,
      maxComputeWorkgroupsPerDimension,
      maxStorageBuffersPerShaderStage,
      maxComputeWorkgroupStorageSize,
      maxComputeInvocationsPerWorkgroup,
      maxComputeWorkgroupSizeX,
      maxStorageBufferBindingSize: 1 << 17,
    };
    Object.defineProperty(cut, "limits", { value: small });
    const wide = tinyRows(2, { vocab: 2000, shortest: 8, longest: 10 }).map(
      ({ row }) => row as unknown as TokenizedRow,
    );
    const sample = makeBatch(wide);
    const targets = shiftedTargets(sample, sample.labels);
    const results = async (on: Gpu, from: Folder, trained: "all" | "none") => {
      const loaded = await loadModel(on, await openCheckpoint(from), { trained });
      const found = {
        shards: loaded.weights.embed.length,
        logits: await loaded.logits(sample),
        loss: 0,
        grads: [] as Float32Array[],
      };
      if (trained === "none") return found;
      const optimizer = new Optimizer(on, loaded.store!, recipeOf({ use_peft: false }));
      const options = {
        learning_rate: 0,
        max_grad_norm: 1,
        label_smoothing_factor: 0.1,
        neftune_noise_alpha: null,
        seed: 1,
        step: 0,
      };
      found.loss = (await sftStep(on.recorder(), loaded, optimizer, [{ batch: sample, targets }], options)).loss;
      found.grads = loaded.store!.split(await on.read(loaded.store!.grads)).map(({ data }) => data);
      return found;
    };
    for (const from of [model, untied]) {
      for (const trained of ["none", "all"] as const) {
        const [want, got] = [await results(gpu(), from, trained), await results(cut, from, trained)];
        expect(want.shards).toBe(1);
        expect(got.shards).toBe(trained === "all" ? 4 : 2);
        expect(relativeError(got.logits, want.logits)).toBeLessThan(1e-6);
        expect(Math.abs(got.loss - want.loss)).toBeLessThan(1e-6 * Math.abs(want.loss) + 1e-12);
        for (const [i, grad] of got.grads.entries()) expect(relativeError(grad, want.grads[i])).toBeLessThan(1e-5);
      }
    }
    cut.destroy();
  });

  it("sequences packed together see nothing of each other, on qwen3 as well", async () => {
    for (const from of [folder, await tinyModel({ ...TINY, model_type: "qwen3", head_dim: 24 })]) {
      const model = await loadModel(gpu(), await openCheckpoint(from));
      const together = await model.logits(batch);
      let at = 0;
      for (const row of rows) {
        const alone = await model.logits(makeBatch([row]));
        expect(relativeError(together.subarray(at, at + alone.length), alone)).toBeLessThan(1e-6);
        at += alone.length;
      }
      expect(at).toBe(together.length);
    }
  });
});

describe("checkTensors", () => {
  const config = parseModelConfig({ ...TINY, model_type: "qwen2" });
  const whole = async () =>
    new Map((await openCheckpoint(await tinyModel())).tensors) as Map<
      string,
      { shape: readonly number[]; dtype: string }
    >;

  it("accepts a complete checkpoint, also with extra tensors", async () => {
    const tensors = await whole();
    tensors.set("model.layers.0.self_attn.rotary_emb.inv_freq", { shape: [8], dtype: "F32" });
    expect(() => checkTensors(config, tensors, "m")).not.toThrow();
  });

  it("names the first tensor that is missing, misshapen or of another dtype", async () => {
    const tensors = await whole();
    const name = "model.layers.1.self_attn.k_proj.bias";
    tensors.delete(name);
    expect(() => checkTensors(config, tensors, "m")).toThrow(
      new FormatError(`Cannot load m: tensor ${name} [32] is missing`),
    );
    tensors.set(name, { shape: [64], dtype: "BF16" });
    expect(() => checkTensors(config, tensors, "m")).toThrow(
      new FormatError(`Cannot load m: tensor ${name} is [64]; its config.json requires [32]`),
    );
    tensors.set(name, { shape: [32], dtype: "I64" });
    expect(() => checkTensors(config, tensors, "m")).toThrow(
      new UnsupportedError(`Cannot load m: tensor ${name} is I64; F32, F16 and BF16 are read`),
    );
  });
});

describe("LoRA settings", () => {
  it("target_modules may be all-linear, one name or a list in any order", () => {
    expect(targetModules(parseModelConfig({ ...TINY }), "all-linear")).toEqual([...PROJECTIONS]);
    expect(targetModules(parseModelConfig({ ...TINY }), ["all-linear"])).toEqual([...PROJECTIONS]);
    expect(targetModules(parseModelConfig({ ...TINY }), "v_proj")).toEqual(["v_proj"]);
    expect(targetModules(parseModelConfig({ ...TINY }), ["down_proj", "q_proj", "q_proj"])).toEqual([
      "q_proj",
      "down_proj",
    ]);
    expect(() => targetModules(parseModelConfig({ ...TINY }), ["q_proj", "lm_head"])).toThrow(
      /^Cannot apply LoRA to "lm_head": lora_target_modules must be "all-linear", a list of names \(q_proj, /,
    );
    expect(() => targetModules(parseModelConfig({ ...TINY }), [])).toThrow(UnsupportedError);
  });

  it("the scale is α/r, with rsLoRA α/√r", () => {
    const lora = { r: 16, lora_alpha: 32, lora_dropout: 0, target_modules: PROJECTIONS };
    const config = parseModelConfig({ ...TINY });
    expect(targetsOf(config, { ...lora, use_rslora: false })[0].scale).toBe(2);
    expect(targetsOf(config, { ...lora, use_rslora: true })[0].scale).toBe(8);
  });
});

describe("saved weights can be loaded", () => {
  const gpu = useGpu();

  it.each([
    ["qwen2, all-linear", {}, TINY],
    ["qwen2, one module with rsLoRA", { lora_target_modules: ["o_proj"], use_rslora: true }, TINY],
    [
      "qwen3, untied",
      { lora_target_modules: ["q_proj", "k_proj", "gate_proj"] },
      { ...TINY, model_type: "qwen3" as const, head_dim: 24, tie_word_embeddings: false },
    ],
  ])("an adapter gives the same logits when loaded again: %s", async (_, options, spec) => {
    const model = await tinyModel(spec);
    const { trainee, output } = await train(gpu(), { recipe: recipeOf({ max_steps: 2, ...options }), model });
    const checkpoint = await openCheckpoint(model);
    const { adapter, lora } = await openAdapterFor(trainee.model.config, output);
    expect(lora).toEqual(trainee.lora);
    const again = await loadModel(gpu(), checkpoint, { trained: { lora } });
    await fillAdapter(gpu(), again, adapter);
    const got = await again.logits(batch);
    expect(got).toEqual(await trainee.model.logits(batch));
    expect(relativeError(got, await (await loadModel(gpu(), checkpoint)).logits(batch))).toBeGreaterThan(1e-3);
  });

  it("a run continues from an adapter, whose own rank and targets replace the recipe's", async () => {
    const first = await train(gpu(), {
      recipe: recipeOf({ max_steps: 3, lora_target_modules: ["v_proj"] }),
    });
    const second = await train(gpu(), {
      recipe: recipeOf({ max_steps: 1, learning_rate: 0, lora_r: 8 }),
      adapter: first.output,
    });
    expect(second.trainee.lora).toMatchObject({ r: 4, target_modules: ["v_proj"] });
    expect(await tensorsOf(second.output, "adapter_model.safetensors")).toEqual(
      await tensorsOf(first.output, "adapter_model.safetensors"),
    );
  });

  it("an adapter for another base is refused with the first tensor that does not fit", async () => {
    const { output } = await train(gpu(), { recipe: recipeOf({ max_steps: 1 }) });
    const wider = await tinyModel({ ...TINY, hidden_size: 128 });
    await expect(train(gpu(), { recipe: recipeOf(), model: wider, adapter: output })).rejects.toThrow(
      /^Cannot use adapter out: .*layers\.0\.self_attn\.q_proj\.lora_A\.weight is \[4,64\]; this base model requires \[4,128\]\. The adapter is for another base model \(tiny\)/,
    );
    const deeper = await tinyModel({ ...TINY, num_hidden_layers: 3 });
    await expect(train(gpu(), { recipe: recipeOf(), model: deeper, adapter: output })).rejects.toThrow(
      /it lacks .*layers\.2\..* does not fit this base model of 3 layers/,
    );
    const shallower = await tinyModel({ ...TINY, num_hidden_layers: 1 });
    await expect(train(gpu(), { recipe: recipeOf(), model: shallower, adapter: output })).rejects.toThrow(
      /it holds .*layers\.1\..*, which does not fit this base model of 1 layers/,
    );
  });

  it("a fully trained model gives the same logits when loaded as a checkpoint", async () => {
    const { trainee, output } = await train(gpu(), {
      recipe: recipeOf({ max_steps: 2, use_peft: false }),
      model: await tinyModel({ ...TINY, tie_word_embeddings: false }),
    });
    const again = await loadModel(gpu(), await openCheckpoint(output));
    const [got, want] = [await again.logits(batch), await trainee.model.logits(batch)];
    expect(got.length).toBe(want.length);
    expect(relativeError(got, want)).toBe(0);
    expect(JSON.parse(await output.readText("config.json"))).toMatchObject({
      model_type: "qwen2",
      torch_dtype: "float32",
    });
  });
});
