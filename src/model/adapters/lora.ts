import type { Projection } from "../names.ts";

/** LoRA's shape, under PEFT's names. */
export interface LoraConfig {
  r: number;
  lora_alpha: number;
  lora_dropout: number;
  use_rslora: boolean;
  target_modules: readonly Projection[];
}

/** Scale of the low-rank product: α/r, or α/√r with rsLoRA (arXiv:2312.03732). */
export function loraScale({ r, lora_alpha, use_rslora }: LoraConfig): number {
  return lora_alpha / (use_rslora ? Math.sqrt(r) : r);
}
