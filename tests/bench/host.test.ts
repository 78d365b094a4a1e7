import { describe, expect, it } from "vitest";
import { nullGpu } from "../../bench/host.ts";
import { microBatch, trainee } from "../../bench/models.ts";
import { benchModel } from "../../bench/sizes.ts";
import { sftStep } from "../../src/train/sft/step.ts";

describe("the device on which the host's cost is measured", () => {
  it("takes a step of all 24 layers of 0.5B: its weights share memory, and each has its own place", async () => {
    const gpu = await nullGpu();
    const config = benchModel(24, 4096);
    const { model, optimizer } = trainee(gpu, config);
    const places = model.linears.map(({ weight }) => weight.offset);
    expect(config.num_hidden_layers).toBe(24);
    expect(new Set(places).size).toBe(24);
    const micro = microBatch(config.vocab_size, 4, 256);
    const options = { max_grad_norm: 1, label_smoothing_factor: 0, neftune_noise_alpha: null, seed: 1 };
    const done = sftStep(gpu.recorder(), model, optimizer, [micro], { ...options, step: 0, learning_rate: 1e-4 });
    done.catch(() => {}); // the null backend computes no numbers
    await gpu.settle(); // throws what the device refused, such as memory
    expect(gpu.pool.ledger.allocated).toBeLessThan(512 * 2 ** 20);
    gpu.destroy();
  });
});
