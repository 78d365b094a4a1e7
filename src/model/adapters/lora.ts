import { UnsupportedError } from "../../errors.ts";
import type { AdapterConfig } from "../../io/peft.ts";
import { loraLinear } from "../../kernels/matmul/lora-linear.ts";
import { loraLinearBackward } from "../../kernels/matmul/lora-linear-backward.ts";
import type { ModelConfig } from "../architectures/architecture.ts";
import { type Module, moduleNames, modulesOf } from "../architectures/tensors.ts";
import type { AdapterKind, AdapterMatrix } from "./adapter.ts";

/** LoRA's shape, under PEFT's names. */
export interface LoraConfig {
  r: number;
  lora_alpha: number;
  lora_dropout: number;
  use_rslora: boolean;
  /** names of linear layers, in the order in which the model has them */
  target_modules: readonly string[];
}

/** Name of an adapter's matrix in a PEFT file. */
export function loraName({ path }: Pick<Module, "path">, matrix: "lora_A" | "lora_B"): string {
  return `base_model.model.${path}.${matrix}.weight`;
}

/** Factor of the low-rank product: α/r, or α/√r with rsLoRA (arXiv:2312.03732). */
export function loraScale({ r, lora_alpha, use_rslora }: LoraConfig): number {
  return lora_alpha / (use_rslora ? Math.sqrt(r) : r);
}

/** The linear layers of a model that an adapter is on. */
export function targetsOf(config: ModelConfig, { target_modules }: LoraConfig): Module[] {
  return modulesOf(config).filter(({ name }) => target_modules.includes(name));
}

/** `target_modules` of a recipe or an adapter_config.json as a model's own names. @throws {UnsupportedError} for any other module */
export function targetModules(config: ModelConfig, modules: readonly string[] | string): string[] {
  const known = moduleNames(config);
  const names = typeof modules === "string" ? [modules] : modules;
  if (names.includes("all-linear")) return known;
  const other = names.find((name) => !known.includes(name));
  if (other !== undefined) {
    throw new UnsupportedError(
      `Cannot put LoRA on ${JSON.stringify(other)}: lora_target_modules may be "all-linear" or a list of ${known.join(", ")}`,
    );
  }
  if (names.length === 0) throw new UnsupportedError("Cannot put LoRA on no module: lora_target_modules is empty");
  return known.filter((name) => names.includes(name));
}

/** LoRA settings of an adapter that was read, for a model. */
export function loraConfigOf(
  config: ModelConfig,
  { r, lora_alpha, lora_dropout, use_rslora, target_modules }: AdapterConfig,
): LoraConfig {
  return { r, lora_alpha, lora_dropout, use_rslora, target_modules: targetModules(config, target_modules) };
}

/** W + s·B·A. @see Hu et al. 2021, arXiv:2106.09685; PEFT's LoraConfig */
export const lora: AdapterKind<LoraConfig> = {
  peft_type: "LORA",
  parameters(module, { r }): AdapterMatrix[] {
    return [
      { name: loraName(module, "lora_A"), shape: [r, module.inner], decay: true, part: "loraA" },
      { name: loraName(module, "lora_B"), shape: [module.out, r], decay: true, part: "loraB" },
    ];
  },
  // A ~ U(±1/√in), B = 0, as PEFT starts them
  initial({ name, shape }, random) {
    const values = new Float32Array(shape[0] * shape[1]);
    if (!name.includes(".lora_A.")) return values;
    const bound = 1 / Math.sqrt(shape[1]);
    return values.map(() => (2 * random() - 1) * bound);
  },
  forward: loraLinear,
  backward: loraLinearBackward,
  async merge(module, config, read) {
    const [a, b] = [await read(loraName(module, "lora_A")), await read(loraName(module, "lora_B"))];
    const { inner } = module;
    const { r } = config;
    const scale = loraScale(config);
    const delta = new Float64Array(inner);
    return (weight, row) => {
      for (let at = 0; at < weight.length; at += inner) {
        const i = row + at / inner;
        delta.fill(0); // the product is summed by itself, so that W is rounded once
        for (let k = 0; k < r; k++) {
          const factor = scale * b[i * r + k];
          if (factor === 0) continue;
          const from = k * inner;
          for (let j = 0; j < inner; j++) delta[j] += factor * a[from + j];
        }
        for (let j = 0; j < inner; j++) weight[at + j] += delta[j];
      }
    };
  },
  toPeft: ({ r, lora_alpha, lora_dropout, use_rslora, target_modules }, base) => {
    const fields = { r, lora_alpha, lora_dropout, use_rslora, target_modules: [...target_modules] };
    return { ...fields, base_model_name_or_path: base };
  },
};
