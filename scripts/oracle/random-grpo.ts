// Random settings of GRPO's loss, beside TRL's own `_compute_loss` on the same sequences. Not part of the suite: it needs
// Python with torch, transformers, PEFT and TRL 1.13.
//
//   npx tsx scripts/oracle/random-grpo.ts PYTHON [COUNT] [SEED]
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { GRPO_LOSS_DEFAULTS, grpoLossTypes } from "../../shaders/loss/grpo-losses.ts";
import { openGpu } from "../../src/cli/runs/open-gpu.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import { parseModelConfig } from "../../src/model/config.ts";
import { fillAdapter, loadModel, openAdapterFor } from "../../src/model/files/load.ts";
import { openModel } from "../../src/model/files/open.ts";
import type { Transformer } from "../../src/model/transformer.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { lcg } from "../../src/text/hash.ts";
import { type GrpoLossOptions, grpoObjective, tokenLogps } from "../../src/train/grpo/objective.ts";
import type { GrpoSequence } from "../../src/train/grpo/sequences.ts";
import { readTensors, worstGradient } from "../../tests/parity/parity-model.ts";

const MODEL = fileURLToPath(new URL("../../tests/golden/grpo", import.meta.url));
const PYTHON_SIDE = fileURLToPath(new URL("grpo_loss.py", import.meta.url));

interface Options extends Omit<GrpoLossOptions, "entropy_coef"> {
  entropy_coef: number;
  steps_per_generation: number;
}

interface Case {
  options: Options;
  sequences: (GrpoSequence & { masked: boolean })[];
}

/** Draws from a seed. */
class Dice {
  private readonly next: () => number;

  constructor(seed: number) {
    this.next = lcg(seed);
  }

  between(low: number, high: number): number {
    return low + ((this.next() >>> 8) / 16777216) * (high - low);
  }

  whole(low: number, high: number): number {
    return Math.min(high, Math.floor(this.between(low, high + 1)));
  }

  of<T>(...values: readonly T[]): T {
    return values[this.whole(0, values.length - 1)];
  }
}

/** @param i every loss has its turn */
function optionsOf(dice: Dice, i: number): Options {
  const loss_type = grpoLossTypes[i % grpoLossTypes.length];
  const epsilon = dice.between(0.05, 0.3);
  return {
    ...GRPO_LOSS_DEFAULTS,
    loss_type,
    importance_sampling_level: dice.of("token", "sequence"),
    epsilon,
    epsilon_high: loss_type === "cispo" ? dice.between(0.5, 5) : dice.of(null, dice.between(0.1, 0.4)),
    delta: loss_type === "cispo" ? null : dice.of(null, null, dice.between(1.1, 2)),
    sapo_temperature_pos: dice.between(0.5, 2),
    sapo_temperature_neg: dice.between(0.5, 2),
    vespo_k_pos: dice.between(0.5, 3),
    vespo_lambda_pos: dice.between(0.5, 3),
    vespo_k_neg: dice.between(0.5, 3),
    vespo_lambda_neg: dice.between(0.5, 3),
    beta: dice.of(0, dice.between(0.01, 0.3)),
    use_bias_correction_kl: dice.of(true, true, false),
    off_policy_mask_threshold: dice.of(null, dice.between(0.01, 0.3)),
    top_entropy_quantile: dice.of(1, dice.between(0, 1)),
    entropy_coef: dice.of(0, dice.between(-0.02, 0.1)),
    temperature: dice.between(0.7, 1.3),
    max_completion_length: dice.whole(8, 32),
    num_items_in_batch: dice.whole(20, 200),
    gradient_accumulation_steps: dice.whole(1, 4),
    steps_per_generation: dice.whole(1, 4),
  };
}

async function sequencesOf(
  gpu: Gpu,
  model: Transformer,
  dice: Dice,
  { beta, temperature }: Options,
): Promise<Case["sequences"]> {
  const ids = (least: number, most: number) =>
    Array.from({ length: dice.whole(least, most) }, () => dice.whole(0, model.config.vocab_size - 1));
  const plain = Array.from({ length: dice.whole(2, 6) }, () => ({ prompt_ids: ids(1, 8), completion_ids: ids(1, 14) }));
  const record = gpu.recorder();
  const pending = tokenLogps(record, model, plain, { temperature });
  record.submit();
  const { logps } = await pending;
  const onPolicy = dice.of(false, false, false, true);
  const spread = dice.of(0.05, 0.3, 0.8);
  const moved = (s: number) => Array.from(logps[s], (lp) => Math.fround(lp + spread * dice.between(-1, 1)));
  return plain.map((tokens, s) => ({
    ...tokens,
    advantage: Math.fround(dice.of(-1, 1) * dice.between(0.1, 2)),
    old_logps: onPolicy ? null : moved(s),
    ref_logps: beta === 0 ? null : moved(s),
    masked: s > 0 && dice.whole(0, 9) === 0,
  }));
}

/** Loss, metrics and gradients as Qwench has them. */
async function ours(gpu: Gpu, model: Transformer, { options, sequences }: Case) {
  const record = gpu.recorder();
  record.clear(model.store!.grads);
  const { gradient_accumulation_steps = 1, steps_per_generation, entropy_coef } = options;
  const pending = grpoObjective(
    record,
    model,
    sequences.map((s) => ({ ...s, completion_mask: s.masked ? new Uint8Array(s.completion_ids.length) : null })),
    {
      ...options,
      entropy_coef: entropy_coef === 0 ? null : entropy_coef,
      num_items_in_batch: (options.num_items_in_batch * gradient_accumulation_steps) / steps_per_generation,
    },
  );
  const flat = record.read(model.store!.grads);
  record.submit();
  const { loss, metrics } = await pending;
  if (entropy_coef !== 0) metrics.entropy_coef = entropy_coef;
  return { loss, metrics, grads: new Map(model.store!.split(await flat).map(({ name, data }) => [name, data])) };
}

async function main([python, count = "20", seed = "1"]: string[]): Promise<number> {
  if (!python) {
    console.error("usage: npx tsx scripts/oracle/random-grpo.ts PYTHON [COUNT] [SEED]");
    return 2;
  }
  const { gpu } = await openGpu();
  const folder = nodeFolder(MODEL);
  const { checkpoint } = await openModel(folder);
  const { adapter, lora } = await openAdapterFor(parseModelConfig(checkpoint.config), folder.folder("adapter"));
  const model = await loadModel(gpu, checkpoint, { trained: { lora: { ...lora, lora_dropout: 0 } } });
  await fillAdapter(gpu, model, adapter);
  const dice = new Dice(Number(seed));
  const cases: Case[] = [];
  for (let i = 0; i < Number(count); i++) {
    const options = optionsOf(dice, i);
    cases.push({ options, sequences: await sequencesOf(gpu, model, dice, options) });
  }
  const out = mkdtempSync(join(tmpdir(), "random-grpo-"));
  const worst: Record<string, number> = {};
  try {
    writeFileSync(join(out, "cases.json"), JSON.stringify(cases));
    execFileSync(python, [PYTHON_SIDE, MODEL, join(out, "cases.json"), out], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    const results = JSON.parse(readFileSync(join(out, "results.json"), "utf8"));
    for (const [i, item] of cases.entries()) {
      const want: { loss: number; exact: number; metrics: Record<string, number> } = results[i];
      const got = await ours(gpu, model, item);
      const names = new Set([...Object.keys(want.metrics), ...Object.keys(got.metrics)]);
      const size = Math.max(Math.abs(want.exact), 0.01);
      const far = {
        "loss beside float64": Math.abs(got.loss - want.exact) / size,
        "TRL's own beside float64": Math.abs(want.loss - want.exact) / size,
        loss: Math.abs(got.loss - want.loss) / Math.max(Math.abs(want.loss), 0.01),
        gradients: worstGradient(got.grads, await readTensors(nodeFolder(out), `grads_${i}.safetensors`)),
        metrics: Math.max(...[...names].map((name) => Math.abs(got.metrics[name] - want.metrics[name]))),
      };
      for (const [key, value] of Object.entries(far)) if (!(value <= (worst[key] ?? 0))) worst[key] = value;
      const { loss_type, importance_sampling_level: level, beta, top_entropy_quantile: top } = item.options;
      const figures = Object.entries(far).map(([name, value]) => `${name} ${value.toExponential(1)}`);
      console.log(`${i}: ${loss_type}, ${level}, β ${beta.toFixed(3)}, top ${top.toFixed(2)}: ${figures.join(", ")}`);
    }
  } finally {
    rmSync(out, { recursive: true });
  }
  const figures = Object.entries(worst).map(([name, value]) => `${name} ${value.toExponential(2)}`);
  console.log(`Worst of ${count} settings, seed ${seed}: ${figures.join(", ")}`);
  return worst.loss <= 1e-4 && worst.gradients <= 1e-4 && worst.metrics <= 1e-4 ? 0 : 1;
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
