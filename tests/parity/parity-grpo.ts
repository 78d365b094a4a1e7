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

/** What settings of TRL 1.9 do not say, as it was there. */
const OLDER = {
  use_bias_correction_kl: false,
  off_policy_mask_threshold: null,
  top_entropy_quantile: 1,
  entropy_coef: 0,
};

type Setting = Omit<GrpoLossOptions, keyof LossSettings | keyof typeof OLDER> &
  Partial<LossSettings & GrpoLossOptions> & {
    on_policy?: boolean;
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

function optionsOf(setting: Setting): GrpoLossOptions {
  const all = { ...GRPO_LOSS_DEFAULTS, ...OLDER, ...setting };
  return { ...all, entropy_coef: all.entropy_coef || null }; // 0: no bonus
}

/** The loss, and where it differs from what is usual. */
function titleOf(setting: Setting): string {
  const { loss_type, beta, importance_sampling_level } = setting;
  const usual: [keyof Setting, unknown, string][] = [
    ["delta", null, "δ"],
    ["top_entropy_quantile", 1, "top"],
    ["off_policy_mask_threshold", null, "mask"],
    ["entropy_coef", 0, "bonus"],
    ["on_policy", false, "on-policy"],
  ];
  const rest = usual
    .filter(([name, value]) => (setting[name] ?? value) !== value)
    .map(([name, , label]) => `, ${label} ${setting[name]}`);
  return `${loss_type}, β ${beta}${setting.use_bias_correction_kl && beta ? " corrected" : ""}, ${importance_sampling_level}${rest.join("")}`;
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
    const title = `${i}: ${titleOf(setting)}`;
    const record = gpu.recorder();
    record.clear(store!.grads);
    const given = setting.on_policy ? sequences.map((s) => ({ ...s, old_logps: null })) : sequences;
    const pending = grpoObjective(record, model, given, optionsOf(setting));
    const flat = record.read(store!.grads);
    record.submit();
    const { loss, metrics } = await pending;
    if (setting.entropy_coef) metrics.entropy_coef = setting.entropy_coef;
    // the settings of TRL 1.9 have losses near 0, which are differences of larger terms
    const close = setting.on_policy === undefined ? 1e-4 : 1e-5;
    add(`${title}, loss`, Math.abs(loss - setting.loss) / Math.abs(setting.loss), close);
    const grads = new Map(store!.split(await flat).map(({ name, data }) => [name, data]));
    add(`${title}, LoRA gradients`, worstGradient(grads, await readTensors(folder, setting.grads)), 1e-4);
    const names = new Set([...Object.keys(metrics), ...Object.keys(setting.metrics)]);
    let worst = 0;
    for (const metric of names) {
      const error = Math.abs(metrics[metric] - setting.metrics[metric]); // NaN where only one side has it
      if (!(error <= worst)) worst = error;
      if (Number.isNaN(worst)) break;
    }
    add(`${title}, metrics`, worst, 1e-4);
  }
  return rows;
}
