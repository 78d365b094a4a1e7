/** The parts of an adapter's tensor name: `base_model.model.{module}.{part}.weight`. */
interface AdapterName {
  /** the module's path in the base model, as Qwench names it: `model.layers.3.self_attn.q_proj` */
  module: string;
  /** PEFT's: `lora_A`, `lora_B`, `lora_magnitude_vector` */
  part: string;
  /** stored transposed, as in MLX */
  transposed: boolean;
}

const PARTS: Readonly<Record<string, { part: string; transposed: boolean }>> = {
  lora_A: { part: "lora_A", transposed: false },
  lora_B: { part: "lora_B", transposed: false },
  lora_magnitude_vector: { part: "lora_magnitude_vector", transposed: false },
  lora_a: { part: "lora_A", transposed: true },
  lora_b: { part: "lora_B", transposed: true },
};

/**
 * Parses the name of an adapter's tensor. PEFT's names occur with an adapter's own name (`lora_A.default.weight`),
 * without PEFT's prefix, and with the prefix of a model with a vision tower (`model.language_model.layers`,
 * `language_model.model.layers`); MLX's names are `model.layers.3.self_attn.q_proj.lora_a`. Null for any other name.
 */
export function parseAdapterName(name: string): AdapterName | null {
  const match = /^(.+)\.(lora_[ABab]|lora_magnitude_vector)(?:\.([\w-]+))??(?:\.weight)?$/.exec(name);
  if (!match) return null;
  const { part, transposed } = PARTS[match[2]];
  return { module: modulePath(match[1]), part, transposed };
}

/** A module's path without any prefix. */
function modulePath(path: string): string {
  const tower = /(?:^|\.)visual\.(.+)$/.exec(path);
  if (tower) return `model.visual.${tower[1]}`;
  const layer = /(?:^|\.)layers\.(\d+\..+)$/.exec(path);
  if (layer && !/(?:^|\.)(?:vision_tower|vision_model)\./.test(path)) return `model.layers.${layer[1]}`;
  return path.replace(/^base_model\.model\./, "");
}

/**
 * PEFT's name of an embedding or a head that an adapter replaces, from any of its spellings
 * (`base_model.model.lm_head.modules_to_save.weight`); null for any other name.
 */
export function parseTableName(name: string): string | null {
  const match = /(?:^|\.)(embed_tokens|lm_head)(?:\.modules_to_save)?(?:\.default)?\.weight$/.exec(name);
  if (!match) return null;
  return `base_model.model.${match[1] === "lm_head" ? "" : "model."}${match[1]}.weight`;
}

/**
 * PEFT's name of trained rows of an embedding or a head (`trainable_token_indices`), from any of its spellings; null for any
 * other name.
 */
export function parseRowsName(name: string): string | null {
  const match = /(?:^|\.)(embed_tokens|lm_head)(?:\.token_adapter)?\.trainable_tokens_delta(?:\.default)?$/.exec(name);
  if (!match) return null;
  return `base_model.model.${match[1] === "lm_head" ? "" : "model."}${match[1]}.token_adapter.trainable_tokens_delta`;
}

/** PEFT's name of a tensor. */
export function adapterName(module: string, part: string): string {
  return `base_model.model.${module}.${part}${part === "lora_magnitude_vector" ? "" : ".weight"}`;
}
