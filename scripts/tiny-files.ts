import { type CheckpointSpec, configOf } from "./random-checkpoint.ts";
import { QWEN2_PATTERN, trainBpe } from "./train-bpe.ts";

const SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/** Qwen2.5's ChatML, without a default system message. */
const CHAT_TEMPLATE = `{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
`;

/** Tokens around and for an image, and a template that writes them, as Qwen3.5's does. */
const VISION_SPECIAL = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>"];
const VISION_TEMPLATE = CHAT_TEMPLATE.replace(
  "message.role + '\\n' + message.content + '<|im_end|>' + '\\n'",
  "message.role + '\\n' }}{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}{% if part.type == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{{ '<|im_end|>' + '\\n'",
);

/** The files other than the weights, by name, with the sizes that depend on the tokenizer. */
interface TinyFiles {
  vocab_size: number;
  files: Record<string, string>;
}

/**
 * tokenizer.json and related files from a corpus: like Qwen2.5's, except for the vocabulary.
 *
 * @param vision with the tokens of images, at the end, and a template that writes them
 */
export function tinyTokenizer(texts: Iterable<string>, size: number, least: number, vision = false): TinyFiles {
  const special = vision ? [...SPECIAL, ...VISION_SPECIAL] : SPECIAL;
  const { vocab, merges } = trainBpe(texts, size - special.length, least);
  const ids = special.map((content, i) => ({ id: vocab.length + i, content }));
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false };
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const [end, , turnEnd] = ids;
  return {
    vocab_size: vocab.length + special.length,
    files: {
      "tokenizer.json": text({
        version: "1.0",
        truncation: null,
        padding: null,
        added_tokens: ids.map(({ id, content }) => ({ id, content, ...flags })),
        normalizer: { type: "NFC" },
        pre_tokenizer: {
          type: "Sequence",
          pretokenizers: [
            { type: "Split", pattern: { Regex: QWEN2_PATTERN }, behavior: "Isolated", invert: false },
            byteLevel,
          ],
        },
        post_processor: byteLevel,
        decoder: byteLevel,
        model: {
          type: "BPE",
          dropout: null,
          unk_token: null,
          continuing_subword_prefix: "",
          end_of_word_suffix: "",
          fuse_unk: false,
          byte_fallback: false,
          vocab: Object.fromEntries(vocab.map((token, id) => [token, id])),
          merges,
        },
      }),
      "tokenizer_config.json": text({
        add_bos_token: false,
        add_prefix_space: false,
        added_tokens_decoder: Object.fromEntries(ids.map(({ id, content }) => [id, { content, ...flags }])),
        additional_special_tokens: special.slice(1),
        bos_token: null,
        chat_template: vision ? VISION_TEMPLATE : CHAT_TEMPLATE,
        clean_up_tokenization_spaces: false,
        eos_token: turnEnd.content,
        errors: "replace",
        model_max_length: 256,
        pad_token: end.content,
        split_special_tokens: false,
        tokenizer_class: "Qwen2Tokenizer",
        unk_token: null,
      }),
      "generation_config.json": text({
        bos_token_id: end.id,
        do_sample: true,
        eos_token_id: [turnEnd.id, end.id],
        pad_token_id: end.id,
        temperature: 1,
        top_k: 0,
        top_p: 1,
      }),
    },
  };
}

export type TinyArchitecture = "qwen2" | "qwen3_5_text";

/** Sizes of the embedded model, about 0.5 M parameters, and of a Qwen3.5 of 0.4 M: three delta nets, then gated attention. */
export function tinySpec(vocab_size: number, model_type: TinyArchitecture = "qwen2"): CheckpointSpec {
  const common = { model_type, vocab_size, tie_word_embeddings: true, max_position_embeddings: 256 };
  const heads = { num_attention_heads: 4, num_key_value_heads: 2, initializer_range: 0.08 };
  if (model_type === "qwen2") {
    return { ...common, ...heads, hidden_size: 128, intermediate_size: 256, num_hidden_layers: 3 };
  }
  return {
    ...common,
    ...heads,
    hidden_size: 96,
    intermediate_size: 192,
    num_hidden_layers: 4,
    head_dim: 24,
    linear_num_key_heads: 2,
    linear_num_value_heads: 4,
    linear_key_head_dim: 24,
    linear_value_head_dim: 24,
    partial_rotary_factor: 0.5,
  };
}

/** config.json for these sizes, with this vocabulary's ids. */
export function tinyConfig(spec: CheckpointSpec): string {
  return text({
    ...configOf(spec),
    bos_token_id: spec.vocab_size - 3,
    eos_token_id: spec.vocab_size - 1,
    ...(spec.model_type === "qwen2" && { rope_theta: 10_000, sliding_window: null }),
  });
}

function text(json: unknown): string {
  return `${JSON.stringify(json, null, 1)}\n`;
}
