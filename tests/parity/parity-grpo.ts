import { GRPO_LOSS_DEFAULTS, type LossSettings } from "../../shaders/loss/grpo-losses.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import type { Folder } from "../../src/io/storage.ts";
import { relativeError } from "../../src/kernels/check.ts";
import { parseModelConfig } from "../../src/model/config.ts";
import { fillAdapter, loadModel, openAdapterFor } from "../../src/model/files/load.ts";
import { openModel } from "../../src/model/files/open.ts";
import type { Transformer } from "../../src/model/transformer.ts";
import { groupAdvantages, type ScaleRewards } from "../../src/train/grpo/advantages.ts";
import { type GrpoLossOptions, grpoObjective, tokenLogps } from "../../src/train/grpo/objective.ts";
import type { GrpoSequence } from "../../src/train/grpo/sequences.ts";
import { type ParityRow, readTensors, worstGradient } from "./parity-model.ts";

interface AdvantageCase {
  num_generations: number;
  scale_rewards: ScaleRewards;
  rewards: number[];
  advantages: number[];
}

/** TRL's group-relative advantages in a golden folder's advantages.json. */
export async function advantagesParity(folder: Folder): Promise<ParityRow[]> {
  const cases: AdvantageCase[] = JSON.parse(await folder.readText("advantages.json"));
  return cases.map(({ num_generations, scale_rewards, rewards, advantages }, i) => {
    const got = groupAdvantages(
      { names: ["reward"], weights: null, rewards: [rewards] },
      { num_generations, scale_rewards },
    );
    return {
      case: "advantages",
      check: `${i + 1}: ${scale_rewards}, ${rewards.length} in groups of ${num_generations}`,
      worst: relativeError(got.advantages, advantages),
      tolerance: 1e-5,
    };
  });
}

type Setting = Omit<GrpoLossOptions, keyof LossSettings> &
  Partial<LossSettings> & {
    loss: number;
    metrics: Record<string, number>;
    grads: string;
  };

/** The golden batch without its padding. */
async function readSequences(folder: Folder) {
  const batch = await readTensors(folder, "batch.safetensors");
  const golden = await readTensors(folder, "logps.safetensors");
  const [count] = batch.get("prompt_ids")!.shape;
  const row = (tensors: typeof batch, name: string, s: number) => {
    const { shape, data } = tensors.get(name)!;
    return data.subarray(s * (shape[1] ?? 1), (s + 1) * (shape[1] ?? 1));
  };
  return Array.from({ length: count }, (_, s) => {
    const real = (values: Float32Array, mask: string) => values.filter((_, t) => row(batch, mask, s)[t] !== 0);
    const logps = (name: string) => real(row(golden, name, s), "completion_mask");
    return {
      prompt_ids: real(row(batch, "prompt_ids", s), "prompt_mask"),
      completion_ids: real(row(batch, "completion_ids", s), "completion_mask"),
      advantage: golden.get("advantages")!.data[s],
      old_logps: logps("old_per_token_logps"),
      ref_logps: logps("ref_per_token_logps"),
      logps: logps("per_token_logps"),
    };
  });
}

async function logpError(
  model: Transformer,
  sequences: readonly GrpoSequence[],
  temperature: number,
  want: Float32Array[],
) {
  const record = model.gpu.recorder();
  const pending = tokenLogps(record, model, sequences, { temperature });
  record.submit();
  const { logps } = await pending;
  const flat = (parts: Float32Array[]) => parts.flatMap((part) => [...part]);
  return relativeError(flat(logps), flat(want));
}

/** TRL's GRPO losses, metrics and LoRA gradients over one fixed batch (a folder with losses.json). */
export async function grpoParity(gpu: Gpu, folder: Folder, name: string): Promise<ParityRow[]> {
  const settings: Setting[] = JSON.parse(await folder.readText("losses.json"));
  const sequences = await readSequences(folder);
  const checkpoint = (await openModel(folder)).checkpoint;
  const { adapter, lora } = await openAdapterFor(parseModelConfig(checkpoint.config), folder.folder("adapter"));
  const model = await loadModel(gpu, checkpoint, { trained: { lora } });
  await fillAdapter(gpu, model, adapter);
  const rows: ParityRow[] = [];
  const add = (check: string, worst: number, tolerance: number) => rows.push({ case: name, check, worst, tolerance });
  const { temperature } = settings[0];
  const { store } = model;
  const own = sequences.map(({ logps }) => logps);
  const reference = sequences.map(({ ref_logps }) => ref_logps);
  add("per_token_logps", await logpError(model, sequences, temperature, own), 1e-4);
  add(
    "ref_per_token_logps, adapter off",
    await logpError(model.withoutAdapter(), sequences, temperature, reference),
    1e-4,
  );
  for (const [i, setting] of settings.entries()) {
    const { loss_type, beta, delta = null, importance_sampling_level: level } = setting;
    const title = `${i}: ${loss_type}, β ${beta}, ${level}${delta === null ? "" : `, δ ${delta}`}`;
    const record = gpu.recorder();
    record.clear(store!.grads);
    const pending = grpoObjective(record, model, sequences, { ...GRPO_LOSS_DEFAULTS, ...setting });
    const flat = record.read(store!.grads);
    record.submit();
    const { loss, metrics } = await pending;
    add(`${title}, loss`, Math.abs(loss - setting.loss) / Math.abs(setting.loss), 1e-4);
    const grads = new Map(store!.split(await flat).map(({ name, data }) => [name, data]));
    add(`${title}, LoRA gradients`, worstGradient(grads, await readTensors(folder, setting.grads)), 1e-3);
    const names = new Set([...Object.keys(metrics), ...Object.keys(setting.metrics)]);
    let worst = 0;
    for (const metric of names) {
      const error = Math.abs(metrics[metric] - setting.metrics[metric]); // NaN where only one side has it
      if (!(error <= worst)) worst = error;
      if (Number.isNaN(worst)) break;
    }
    add(`${title}, metrics`, worst, 1e-3);
  }
  return rows;
}
