import type { ModelConfig } from "./config.ts";

/** The seven linear layers of a block in PEFT's and transformers' order. */
export const PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] as const;
export type Projection = (typeof PROJECTIONS)[number];

/** Linear layers that read the same input, which are computed together. */
export const GROUPS = {
  qkv: ["q_proj", "k_proj", "v_proj"],
  o: ["o_proj"],
  gate_up: ["gate_proj", "up_proj"],
  down: ["down_proj"],
} as const satisfies Record<string, readonly Projection[]>;
export type Group = keyof typeof GROUPS;

/** Something for each group. */
export function eachGroup<T>(make: (group: Group, projections: readonly Projection[]) => T): Record<Group, T> {
  return Object.fromEntries(
    Object.entries(GROUPS).map(([group, names]) => [group, make(group as Group, names)]),
  ) as Record<Group, T>;
}

/** Name of a linear layer in a checkpoint, without `.weight`. */
export function moduleName(layer: number, projection: Projection): string {
  const owner =
    projection === "q_proj" || projection === "k_proj" || projection === "v_proj" || projection === "o_proj"
      ? "self_attn"
      : "mlp";
  return `model.layers.${layer}.${owner}.${projection}`;
}

/** Whether a checkpoint's name is that of a linear layer's matrix. */
export function isProjection(name: string): boolean {
  const match = /^model\.layers\.\d+\.(?:self_attn|mlp)\.(\w+)\.weight$/.exec(name);
  return match !== null && (PROJECTIONS as readonly string[]).includes(match[1]);
}

/** Name of an adapter matrix in a PEFT file. */
export function loraName(layer: number, projection: Projection, matrix: "lora_A" | "lora_B"): string {
  return `base_model.model.${moduleName(layer, projection)}.${matrix}.weight`;
}

/** Output and input sizes of a linear layer. */
export function projectionShape(config: ModelConfig, projection: Projection): [number, number] {
  const { hidden_size, intermediate_size, num_attention_heads, num_key_value_heads, head_dim } = config;
  const q = num_attention_heads * head_dim;
  const kv = num_key_value_heads * head_dim;
  switch (projection) {
    case "q_proj":
      return [q, hidden_size];
    case "k_proj":
    case "v_proj":
      return [kv, hidden_size];
    case "o_proj":
      return [hidden_size, q];
    case "gate_proj":
    case "up_proj":
      return [intermediate_size, hidden_size];
    case "down_proj":
      return [hidden_size, intermediate_size];
  }
}

/** Whether a linear layer has a bias. */
export function hasBias(config: ModelConfig, projection: Projection): boolean {
  return (
    config.attention_bias &&
    (projection === "q_proj" ||
      projection === "k_proj" ||
      projection === "v_proj" ||
      (config.model_type === "qwen3" && projection === "o_proj"))
  );
}

/** Every tensor that a checkpoint of this model holds, with its shape, in file order. */
export function checkpointShapes(config: ModelConfig): Map<string, number[]> {
  const { hidden_size: hidden, vocab_size, head_dim } = config;
  const shapes = new Map<string, number[]>([["model.embed_tokens.weight", [vocab_size, hidden]]]);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const prefix = `model.layers.${layer}`;
    shapes.set(`${prefix}.input_layernorm.weight`, [hidden]);
    for (const projection of PROJECTIONS) {
      const [out, inner] = projectionShape(config, projection);
      shapes.set(`${moduleName(layer, projection)}.weight`, [out, inner]);
      if (hasBias(config, projection)) shapes.set(`${moduleName(layer, projection)}.bias`, [out]);
    }
    if (config.qk_norm) {
      shapes.set(`${prefix}.self_attn.q_norm.weight`, [head_dim]);
      shapes.set(`${prefix}.self_attn.k_norm.weight`, [head_dim]);
    }
    shapes.set(`${prefix}.post_attention_layernorm.weight`, [hidden]);
  }
  shapes.set("model.norm.weight", [hidden]);
  if (!config.tie_word_embeddings) shapes.set("lm_head.weight", [vocab_size, hidden]);
  return shapes;
}
