import { adapterName } from "../../io/adapter-names.ts";
import type { AdapterConfig } from "../../io/peft.ts";
import { loraLinear } from "../../kernels/matmul/lora-linear.ts";
import { loraLinearBackward } from "../../kernels/matmul/lora-linear-backward.ts";
import type { AdapterKind, AdapterMatrix } from "./adapter.ts";
import { loraStarter } from "./lora-init.ts";
import { type Target, targetsOf } from "./targets.ts";

/** LoRA's settings, under PEFT's names. */
export type LoraConfig = Omit<AdapterConfig, "base_model_name_or_path">;

/** Name of an adapter's tensor in a PEFT file. */
export function loraName({ path }: Pick<Target, "path">, part: "lora_A" | "lora_B" | "lora_magnitude_vector"): string {
  return adapterName(path, part);
}

/**
 * W + s·B·A; with DoRA m·(W + s·B·A) / ‖W + s·B·A‖, row by row.
 *
 * @see Hu et al. 2021, arXiv:2106.09685; Liu et al. 2024, arXiv:2402.09353; PEFT's LoraConfig
 */
export const lora: AdapterKind<LoraConfig> = {
  peft_type: "LORA",
  targets: targetsOf,
  parameters(target): AdapterMatrix[] {
    const { r, inner, out, dora } = target;
    const name = loraName(target, "lora_magnitude_vector");
    const magnitude: AdapterMatrix = { name, shape: [out], decay: true, part: "magnitude" }; // decayed, as by transformers
    return [
      { name: loraName(target, "lora_A"), shape: [r, inner], decay: true, hidden: true, part: "loraA" },
      { name: loraName(target, "lora_B"), shape: [out, r], decay: true, hidden: true, part: "loraB" },
      ...(dora ? [magnitude] : []),
    ];
  },
  starter: loraStarter,
  forward: loraLinear,
  backward: loraLinearBackward,
  async merge(target, read) {
    const [a, b] = [await read(loraName(target, "lora_A")), await read(loraName(target, "lora_B"))];
    const { inner, r, scale } = target;
    const m = target.dora ? await read(loraName(target, "lora_magnitude_vector")) : null;
    const delta = new Float64Array(inner);
    return (weight, row) => {
      for (let at = 0; at < weight.length; at += inner) {
        const i = row + at / inner;
        delta.fill(0); // sum the product on its own, so that W is rounded once
        for (let k = 0; k < r; k++) {
          const factor = scale * b[i * r + k];
          if (factor === 0) continue;
          const from = k * inner;
          for (let j = 0; j < inner; j++) delta[j] += factor * a[from + j];
        }
        if (!m) {
          for (let j = 0; j < inner; j++) weight[at + j] += delta[j];
          continue;
        }
        let squares = 0;
        for (let j = 0; j < inner; j++) squares += (delta[j] += weight[at + j]) ** 2;
        const gain = squares > 0 ? m[i] / Math.sqrt(squares) : 0;
        for (let j = 0; j < inner; j++) weight[at + j] = gain * delta[j];
      }
    };
  },
  toPeft: (config, base) => ({ ...config, base_model_name_or_path: base }),
  fromPeft: ({ base_model_name_or_path: _, ...config }) => config,
};
