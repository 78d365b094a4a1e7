import type { Gpu } from "../src/gpu/device.ts";
import type { AdapterLike } from "../src/gpu/fake-device.ts";
import type { ModelConfig } from "../src/model/config.ts";
import { forecastSft, worstBatch } from "../src/train/forecast/sft.ts";
import { sftStep } from "../src/train/sft/step.ts";
import { now, since } from "./measure.ts";
import { ADAMW, loraOf, trainee } from "./models.ts";
import { about, type BenchRow } from "./rows.ts";
import { benchModel, qwen35Model } from "./sizes.ts";

const RANK = 16;

/** Peak bytes of a training step, from the forecast of `qwench sft` for this adapter. */
export function forecastStep(
  { limits, features, profile }: AdapterLike,
  config: ModelConfig,
  r: number,
  sequences: number,
  length: number,
): number {
  const { peak } = forecastSft({
    config,
    trained: { lora: loraOf(config, r) },
    dtypeOf: () => "bf16",
    steps: [worstBatch(sequences, length)],
    optimizer: ADAMW,
    adapter: { limits, features, profile },
  });
  return peak;
}

/**
 * One step of each length on a new device: the forecast, the ledger's measured peak, and their ratio.
 *
 * @param open opens another device of the same adapter
 */
export async function benchMemory(
  open: () => Promise<Gpu>,
  lengths: readonly number[],
  layers?: number,
): Promise<BenchRow[]> {
  const models = [
    ["", benchModel(layers)],
    ["Qwen3.5-0.8B, ", qwen35Model(layers)],
  ] as const;
  const rows: BenchRow[] = [];
  for (const [name, config, tokens] of models.flatMap((model) =>
    lengths.map((tokens) => [...model, tokens] as const),
  )) {
    const gpu = await open();
    const { model, optimizer } = trainee(gpu, config, RANK);
    const options = { step: 0, learning_rate: 0, max_grad_norm: 1, label_smoothing_factor: 0, seed: 0 };
    const start = now();
    const micro = worstBatch(1, tokens);
    await sftStep(gpu.recorder(), model, optimizer, micro, { ...options, neftune_noise_alpha: null });
    await gpu.settle();
    const { ms, cpu } = since(start);
    const bytes = gpu.pool.ledger.peak;
    const forecast = forecastStep(gpu, config, RANK, 1, tokens);
    rows.push({
      ...about(gpu),
      what: "memory of a first SFT step",
      shape: `${name}${config.num_hidden_layers} layers, ${tokens} tokens`,
      dtype: "bf16",
      median_ms: ms,
      spread: 0,
      gflops: null,
      cpu_ms: cpu,
      forecast_bytes: forecast,
      bytes,
      ratio: bytes / forecast,
      against: "bytes of the forecast",
    });
    gpu.device.destroy();
  }
  return rows;
}
