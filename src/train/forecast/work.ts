import type { LayerSpec, ModelConfig, SublayerSpec } from "../../model/architectures/architecture.ts";
import { layersOf, modulesOf, towerModules, towerOf } from "../../model/architectures/tensors.ts";

/** Kinds of passes, each with rates of its own: both ways, forward only, or one token of each sequence. */
export type PassKind = "train" | "forward" | "decode";

/** Passes of one size. */
export interface Pass {
  kind: PassKind;
  /** number of passes */
  count: number;
  /** tokens of one pass */
  tokens: number;
  /** tokens that a token attends to, on average */
  context: number;
  /** rows whose logits are computed */
  rows: number;
  /** patches that the vision tower sees */
  patches?: number;
}

/** The properties of a run that the operations of a pass depend on. */
export interface WorkModel {
  config: ModelConfig;
  /** rank of LoRA; null: all weights are trained, or none */
  lora_r: number | null;
  /** whether the weights themselves are trained */
  whole: boolean;
  gradient_checkpointing: boolean;
}

/** Layers of a pass, which each need a fixed number of dispatches; the tables and the head count as one. */
export function layersOfPass({ config }: WorkModel, { patches = 0 }: Pick<Pass, "patches">): number {
  return config.num_hidden_layers + 1 + (patches > 0 ? (towerOf(config)?.spec.layers.length ?? 0) : 0);
}

/**
 * Floating-point operations of one pass, with an addition and a multiplication as two. A backward pass repeats each
 * product once for the inputs and once for trained weights, and with gradient checkpointing the forward pass of the blocks.
 */
export function operationsOf(
  model: WorkModel,
  { kind, tokens, context, rows, patches = 0 }: Omit<Pass, "count">,
): number {
  const { config, lora_r, whole, gradient_checkpointing } = model;
  const adapter = lora_r === null ? 0 : sum(modulesOf(config), ({ out, inner }) => 2 * lora_r * (out + inner));
  const products = 2 * sum(modulesOf(config), ({ out, inner }) => out * inner);
  const mixing = sum(
    layersOf(config).flatMap(({ sublayers }: LayerSpec) => sublayers),
    (spec) => mixingOf(spec, context),
  );
  const head = 2 * config.vocab_size * config.hidden_size * rows;
  const seen = patches > 0 ? 2 * patches * sum(towerModules(config), ({ out, inner }) => out * inner) : 0;
  const forward = tokens * (products + adapter + mixing);
  if (kind !== "train") return forward + head + seen;
  const again = gradient_checkpointing ? forward : 0;
  const back = tokens * (products * (whole ? 2 : 1) + 2 * adapter + 2.5 * mixing);
  return forward + again + back + head * (whole ? 3 : 2) + seen;
}

/**
 * What an input or output of a product costs beside the product, in operations: norms, gates, additions and their gradients read
 * and write it, so that an operation of a wide model takes less time. Between the values that fit steps at 896 wide to rates at
 * 128 wide: 120 on Mesa's renderer, 270 on SwiftShader.
 */
const PER_NUMBER = 200;

/** The work of one pass in operations: those of its products, and what goes on between them. */
export function workOfPass(model: WorkModel, pass: Omit<Pass, "count">): number {
  const { kind, tokens } = pass;
  const forward = tokens * sum(modulesOf(model.config), ({ out, inner }) => out + inner);
  const passes = kind === "train" ? 3 + Number(model.gradient_checkpointing) : 1; // backward, as much again twice
  return operationsOf(model, pass) + PER_NUMBER * passes * forward;
}

/** Operations of a token that are no product with weights: its attention, or its steps of the delta rule. */
function mixingOf(spec: SublayerSpec, context: number): number {
  if (spec.kind === "attention") return 4 * spec.heads.num_attention_heads * spec.heads.head_dim * context;
  if (spec.kind !== "gatedDeltaNet") return 0;
  const { num_value_heads, key_head_dim, value_head_dim } = spec.heads;
  return 8 * num_value_heads * key_head_dim * value_head_dim;
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
