import type { TokenizedRow } from "../../src/data/tokenize.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import type { Folder } from "../../src/io/storage.ts";
import { relativeError } from "../../src/kernels/check.ts";
import { parseModelConfig } from "../../src/model/config.ts";
import { fillAdapter, loadModel, openAdapterFor } from "../../src/model/files/load.ts";
import { openModel } from "../../src/model/files/open.ts";
import { shiftedTargets } from "../../src/model/transformer.ts";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import { Optimizer } from "../../src/train/optimizer.ts";
import { sft } from "../../src/train/sft/sft.ts";
import { type SftLossType, sftStep } from "../../src/train/sft/step.ts";
import { type ParityRow, readBatch, readTensors, worstGradient } from "./parity-model.ts";

/** Repeats a trajectory of TRL's SFTTrainer (a folder with trajectory.json): every log, and the adapter at the end. */
export async function sftParity(gpu: Gpu, folder: Folder, name: string): Promise<ParityRow[]> {
  const { args, log } = JSON.parse(await folder.readText("trajectory.json"));
  const train: TokenizedRow[] = JSON.parse(await folder.readText("rows.json"));
  const checkpoint = (await openModel(folder)).checkpoint;
  const { adapter, lora } = await openAdapterFor(parseModelConfig(checkpoint.config), folder.folder("adapter_init"));
  const model = await loadModel(gpu, checkpoint, { trained: { lora } });
  await fillAdapter(gpu, model, adapter);
  const { recipe } = parseRecipe(
    {
      ...args,
      train_sampling_strategy: "sequential",
      logging_steps: 1,
      save_strategy: "no",
      lora_dropout: lora.lora_dropout,
      output_dir: "out",
    },
    "sft",
  );
  const output = memoryFolder("parity");
  const got: Record<string, number>[] = [];
  for await (const event of sft({ model, lora, base: "", config: checkpoint.config }, { train, eval: null }, recipe, {
    output,
    resume: null,
  })) {
    if (event.type === "log") got.push(event.record);
  }
  const rows: ParityRow[] = [];
  const tolerances = {
    loss: 2e-3,
    grad_norm: 2e-3,
    learning_rate: 1e-9,
    mean_token_accuracy: 2e-3,
    entropy: 2e-3,
    num_tokens: 0,
    epoch: 1e-9,
  };
  for (const [metric, tolerance] of Object.entries(tolerances)) {
    const want = log.map((entry: Record<string, number>) => entry[metric]);
    const worst =
      got.length === want.length
        ? relativeError(
            got.map((entry) => entry[metric]),
            want,
          )
        : Number.NaN;
    rows.push({ case: name, check: `${metric}, ${want.length} steps`, worst, tolerance });
  }
  const want = await readTensors(folder.folder("adapter_final"), "adapter_model.safetensors");
  const final = await readTensors(output, "adapter_model.safetensors");
  let worst = 0;
  for (const [key, { data }] of want) {
    const error = final.has(key) ? relativeError(final.get(key)!.data, data) : Number.NaN;
    if (!(error <= worst)) worst = error;
    if (Number.isNaN(worst)) break;
  }
  rows.push({ case: name, check: "adapter at the end", worst, tolerance: 2e-3 });
  return rows;
}

/** TRL's losses of SFT and their LoRA gradients over one batch: a folder with losses.json and batch.safetensors. */
export async function sftLossesParity(gpu: Gpu, folder: Folder, name: string): Promise<ParityRow[]> {
  const settings: { loss_type: SftLossType; loss: number; grads: string }[] = JSON.parse(
    await folder.readText("losses.json"),
  );
  const checkpoint = (await openModel(folder)).checkpoint;
  const { adapter, lora } = await openAdapterFor(parseModelConfig(checkpoint.config), folder.folder("adapter"));
  const model = await loadModel(gpu, checkpoint, { trained: { lora: { ...lora, lora_dropout: 0 } } });
  await fillAdapter(gpu, model, adapter);
  const read = await readBatch(folder);
  const targets = shiftedTargets(read, read.labels);
  const batch = {
    input_ids: Int32Array.from(read.input_ids),
    position_ids: Int32Array.from(read.position_ids),
    cu_seqlens: Int32Array.from(read.cu_seqlens),
    labels: read.labels,
  };
  const still = { optim: "adamw_torch", adam_beta1: 0, adam_beta2: 0, adam_epsilon: 1, weight_decay: 0 } as const;
  const optimizer = new Optimizer(gpu, model.store!, still);
  const rows: ParityRow[] = [];
  for (const { loss_type, loss, grads } of settings) {
    const record = gpu.recorder();
    const options = {
      step: 0,
      learning_rate: 0,
      max_grad_norm: 0,
      label_smoothing_factor: 0,
      neftune_noise_alpha: null,
    };
    const result = await sftStep(record, model, optimizer, [{ batch, targets }], { ...options, loss_type, seed: 0 });
    const after = gpu.recorder();
    const flat = after.read(model.store!.grads);
    after.submit();
    const got = new Map(model.store!.split(await flat).map((each) => [each.name, each.data]));
    const add = (check: string, worst: number, tolerance: number) =>
      rows.push({ case: name, check: `${loss_type}, ${check}`, worst, tolerance });
    add("loss", Math.abs(result.loss - loss) / loss, 1e-5);
    add("LoRA gradients", worstGradient(got, await readTensors(folder, grads)), 1e-4);
  }
  return rows;
}
