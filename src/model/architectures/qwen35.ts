import { deltaWidth } from "../../kernels/delta/heads.ts";
import type {
  Architecture,
  ConfigRule,
  GatedDeltaNetSpec,
  LayerSpec,
  LayerType,
  ModelConfig,
  Projection,
} from "./architecture.ts";
import { attentionBranch, DECODER_RULES, swigluBranch } from "./decoder.ts";
import { QWEN35_GGUF } from "./qwen35-gguf.ts";
import { qwenTower, readVision } from "./vision.ts";

/** Default of full_attention_interval: every fourth layer has attention. */
const INTERVAL = 4;
/** Width of the convolution. */
const TAPS = 4;

const isType = (type: unknown): type is LayerType => type === "full_attention" || type === "linear_attention";

/** Fields that have a meaning here, so that the other decoders' rules about them do not apply. */
const OWN_FIELDS = ["layer_types", "partial_rotary_factor"];

const RULES: readonly ConfigRule[] = [
  ...DECODER_RULES.filter(({ field }) => !OWN_FIELDS.includes(field)),
  {
    field: "layer_types",
    allowed: (v, json) => Array.isArray(v) && v.length === json.num_hidden_layers && v.every(isType),
    rule: '"linear_attention" or "full_attention" for each of num_hidden_layers',
  },
  { field: "linear_conv_kernel_dim", allowed: (v) => v === TAPS, rule: String(TAPS) },
  { field: "attn_output_gate", allowed: (v) => v === true, rule: "true" },
  { field: "mlp_only_layers", allowed: (v) => Array.isArray(v) && v.length === 0, rule: "empty" },
];

/** A block of Qwen3.5: a gated delta net or gated attention, then an MLP. */
function layer(config: ModelConfig, index: number): LayerSpec {
  const bias = config.attention_bias;
  const traits = { biases: { qkv: bias, o: bias }, headNorms: true, gate: true, zeroCentered: true };
  const linear = config.layer_types![index] === "linear_attention";
  const mixer = linear ? deltaBranch(config) : attentionBranch(config, traits);
  return { prefix: `model.layers.${index}`, sublayers: [mixer, swigluBranch(config, undefined, true)] };
}

function deltaBranch({ hidden_size: hidden, delta }: ModelConfig): GatedDeltaNetSpec {
  const heads = delta!;
  const { num_value_heads, value_head_dim } = heads;
  const [channels, values] = [deltaWidth(heads), num_value_heads * value_head_dim];
  const projection = (name: string, out: number, inner: number): Projection => {
    return { name, module: `linear_attn.${name}`, out, inner, bias: false };
  };
  return {
    kind: "gatedDeltaNet",
    pre: { module: "input_layernorm", size: hidden, zeroCentered: true },
    post: null,
    heads,
    own: {
      conv: { name: "linear_attn.conv1d.weight", shape: [channels, 1, TAPS], role: "filter" },
      rate: { name: "linear_attn.A_log", shape: [num_value_heads], role: "rate" },
      shift: { name: "linear_attn.dt_bias", shape: [num_value_heads], role: "shift" },
    },
    norm: { module: "linear_attn.norm", size: value_head_dim, zeroCentered: false },
    groups: {
      qkvz: [projection("in_proj_qkv", channels, hidden), projection("in_proj_z", values, hidden)],
      ba: [projection("in_proj_b", num_value_heads, hidden), projection("in_proj_a", num_value_heads, hidden)],
      out: [projection("out_proj", hidden, values)],
    },
  };
}

/** @see transformers, models/qwen3_5/modeling_qwen3_5.py */
export const qwen35Text: Architecture = {
  model_type: "qwen3_5_text",
  transformers: "Qwen3_5ForCausalLM",
  about: "Qwen3.5's language model",
  rules: RULES,
  head_dim: 256,
  zeroCentered: true,
  partial_rotary_factor: 0.25,
  mrope_section: [11, 11, 10],
  known: [
    ..."linear_num_key_heads linear_num_value_heads linear_key_head_dim linear_value_head_dim".split(" "),
    "full_attention_interval",
    "mtp_num_hidden_layers",
    "mtp_use_dedicated_embeddings",
    "mamba_ssm_dtype",
  ],
  passedOver: [{ prefix: "mtp." }],
  fields(json, size) {
    const interval = size("full_attention_interval", INTERVAL);
    const types = Array.isArray(json.layer_types)
      ? (json.layer_types as LayerType[])
      : Array.from({ length: size("num_hidden_layers") }, (_, i): LayerType => {
          return (i + 1) % interval === 0 ? "full_attention" : "linear_attention";
        });
    return {
      layer_types: types,
      delta: {
        num_key_heads: size("linear_num_key_heads", 16),
        num_value_heads: size("linear_num_value_heads", 32),
        key_head_dim: size("linear_key_head_dim", 128),
        value_head_dim: size("linear_value_head_dim", 128),
      },
    };
  },
  layer,
  gguf: QWEN35_GGUF,
};

/** The same in the published layout, which also holds a vision tower. */
export const qwen35: Architecture = {
  ...qwen35Text,
  model_type: "qwen3_5",
  transformers: "Qwen3_5ForConditionalGeneration",
  about: "Qwen3.5",
  part: "language_model",
  alone: "qwen3_5_text",
  nested: "text_config",
  known: [
    ...qwen35Text.known!,
    ..."text_config vision_config image_token_id video_token_id vision_start_token_id vision_end_token_id".split(" "),
  ],
  vision: readVision,
  tower: qwenTower,
};
