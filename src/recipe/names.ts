import type { Method } from "./field.ts";

/** A former name of a field. */
interface OldName {
  readonly name: string;
  readonly field: string;
  /** converts the old value to the new field's; undefined leaves the field unset. Absent: both fields take the same values */
  readonly convert?: (value: unknown) => unknown;
}

/** A name from TRL or transformers that is accepted without effect. A note tells the user. */
interface IgnoredName {
  /** the reason, written to follow "NAME is ignored: " */
  readonly note: string;
  /** values that are accepted without a note; others are rejected. Absent: all values are accepted with a note. */
  readonly only?: readonly unknown[];
}

const truthy = (value: unknown): boolean => value === true || /^(true|1|yes|on)$/i.test(String(value));

export const oldNames: readonly OldName[] = [
  { name: "torch_dtype", field: "dtype" },
  { name: "max_seq_length", field: "max_length" },
  { name: "warmup_ratio", field: "warmup_steps", convert: (value) => (Number(value) === 0 ? undefined : value) },
  { name: "evaluation_strategy", field: "eval_strategy" },
  { name: "peft_lora_r", field: "lora_r" },
  { name: "peft_lora_alpha", field: "lora_alpha" },
  {
    name: "group_by_length",
    field: "train_sampling_strategy",
    convert: (value) => (truthy(value) ? "group_by_length" : undefined),
  },
];

const noPadding = "Qwench never pads sequences, so this changes nothing";
const oneProcess = "Qwench reads and tokenises rows in this process";
const reports = "metrics.jsonl and report.html in output_dir are always written";
const hub = "Qwench does not push to the hub; upload output_dir yourself";
const terminal = "Qwench shows progress whenever its output is a terminal";

const ignoredByAll: Readonly<Record<string, IgnoredName>> = {
  fp16: { note: "sums are always f32; dtype: float16 holds frozen weights as f16" },
  bf16_full_eval: { note: "evaluation uses the same arithmetic as training" },
  fp16_full_eval: { note: "evaluation uses the same arithmetic as training" },
  tf32: { note: "WebGPU has no TF32" },
  attn_implementation: { note: "Qwench has one attention kernel, flash-style and exact, whatever the value" },
  padding_free: { note: noPadding },
  pad_to_multiple_of: { note: noPadding },
  pad_token: { note: noPadding },
  eval_packing: { note: "packed rows do not see each other, so the evaluation loss is the same" },
  use_liger_kernel: { note: "the kernels are already fused" },
  liger_kernel_config: { note: "the kernels are already fused" },
  gradient_checkpointing_kwargs: { note: "Qwench has one way to recompute blocks" },
  gradient_checkpointing_use_reentrant: { note: "Qwench has one way to recompute blocks" },
  lora_task_type: { note: "the task is always causal language modelling", only: ["CAUSAL_LM"] },
  logging_dir: { note: reports },
  trackio_space_id: { note: reports },
  logging_strategy: { note: "Qwench logs every logging_steps", only: ["steps"] },
  logging_nan_inf_filter: { note: "a loss that is not finite stops the run with an error" },
  include_num_input_tokens_seen: { note: "num_tokens is always logged" },
  disable_tqdm: { note: terminal },
  log_level: { note: terminal },
  log_level_replica: { note: terminal },
  log_on_each_node: { note: terminal },
  save_safetensors: { note: "weights are always written as safetensors", only: [true] },
  dataset_num_proc: { note: oneProcess },
  dataset_batch_size: { note: oneProcess },
  dataloader_num_workers: { note: oneProcess },
  dataloader_pin_memory: { note: oneProcess },
  dataloader_persistent_workers: { note: oneProcess },
  dataloader_prefetch_factor: { note: oneProcess },
  remove_unused_columns: { note: "Qwench reads only the columns that it needs" },
  length_column_name: { note: "lengths are counted from the tokens" },
  full_determinism: { note: "the same recipe on the same adapter always gives the same numbers" },
  average_tokens_across_devices: { note: "Qwench uses one device" },
  ddp_timeout: { note: "Qwench uses one device" },
  skip_memory_metrics: { note: "the memory forecast and the peak are always reported" },
  use_cache: { note: "training needs no KV cache" },
  torch_empty_cache_steps: { note: "buffers are pooled" },
  do_predict: { note: "the command decides this" },
  router_aux_loss_coef: { note: "it balances the experts of a mixture, and these models have none" },
  dataloader_in_order: { note: oneProcess },
  dataloader_multiprocessing_context: { note: oneProcess },
  ddp_static_graph: { note: "Qwench uses one device" },
  eval_use_gather_object: { note: "Qwench uses one device" },
  eval_do_concat_batches: { note: "evaluation keeps sums only" },
  prediction_loss_only: { note: "evaluation keeps sums only" },
  trackio_bucket_id: { note: reports },
  trackio_static_space_id: { note: reports },
  bnb_4bit_quant_storage: { note: "codes of 4 bits are packed in u32 words" },
  do_train: { note: "the command decides this" },
  do_eval: { note: "eval_strategy decides" },
  ignore_bias_buffers: { note: "Qwench uses one device" },
  hub_strategy: { note: hub },
  hub_always_push: { note: hub },
  hub_private_repo: { note: hub },
};

const ownGeneration = "Qwench generates completions itself, on the same GPU";
const order = "shuffle_dataset decides the order of the prompts";
const vllmNames = [
  "mode",
  "model_impl",
  "device",
  "dtype",
  "enable_sleep_mode",
  "enable_prefix_caching",
  "server_base_url",
  "server_host",
  "server_port",
  "server_timeout",
  "group_port",
  "gpu_memory_utilization",
  "max_model_len",
  "max_model_length",
  "max_num_seqs",
  "tensor_parallel_size",
  "importance_sampling_correction",
  "importance_sampling_mode",
  "importance_sampling_cap",
  "importance_sampling_clip_min",
  "importance_sampling_clip_max",
].map((name) => `vllm_${name}`);

const ignoredBy: Readonly<Record<Method, Readonly<Record<string, IgnoredName>>>> = {
  sft: {
    max_prompt_length: { note: "it belongs to GRPO; in SFT max_length limits the whole row" },
  },
  grpo: {
    use_vllm: { note: ownGeneration },
    ...Object.fromEntries(vllmNames.map((name) => [name, { note: ownGeneration }])),
    use_transformers_paged: { note: ownGeneration },
    cache_implementation: { note: ownGeneration },
    ds3_gather_for_generation: { note: "Qwench uses one device" },
    cast_lm_head_to_fp32: { note: "the head always accumulates in f32" },
    use_liger_loss: { note: "the kernels are already fused" },
    label_smoothing_factor: { note: "GRPO's loss has no targets to smooth" },
    train_sampling_strategy: { note: order },
    group_by_length: { note: order },
    ref_model_mixup_alpha: { note: "it is used with sync_ref_model only" },
    ref_model_sync_steps: { note: "it is used with sync_ref_model only" },
    log_multimodal: { note: "prompts hold no images" },
    use_transformers_continuous_batching: { note: ownGeneration },
    transformers_continuous_batching_config: { note: ownGeneration },
    log_unique_prompts: { note: "every completion is kept with its prompt" },
    wandb_log_unique_prompts: { note: "every completion is kept with its prompt" },
  },
  dpo: {
    label_smoothing_factor: { note: "DPO's loss has no targets to smooth; label_smoothing applies to pairs" },
    max_prompt_length: { note: "max_length limits the prompt with its completion" },
    max_completion_length: { note: "max_length limits the prompt with its completion" },
    loss_weights: { note: "loss_type names one loss", only: [1] },
    f_divergence_type: { note: "other divergences are not implemented", only: ["reverse_kl"] },
    f_alpha_divergence_coef: { note: "it belongs to f_divergence_type alpha_divergence, which is not implemented" },
    ld_alpha: { note: "weights of the tokens past the shorter completion are not implemented", only: [1] },
    use_weighting: { note: "weighting pairs by the model's own log-probs is not implemented", only: [false] },
    discopop_tau: { note: "it belongs to loss_type discopop, which is not implemented" },
    router_aux_loss_coef: { note: "the models here have no experts" },
    ref_model_mixup_alpha: { note: "it is used with sync_ref_model only" },
    ref_model_sync_steps: { note: "it is used with sync_ref_model only" },
  },
};

const oneDevice = "Qwench trains on one adapter in one process";
const noTorch = "Qwench does not use PyTorch";
const notYet = "not implemented yet";
const trlOnly = "use `trl sft --config` to train with it";

const refusedByAll: Readonly<Record<string, string>> = {
  deepspeed: oneDevice,
  fsdp: oneDevice,
  fsdp_config: oneDevice,
  accelerate_config: oneDevice,
  accelerator_config: oneDevice,
  parallelism_config: oneDevice,
  num_processes: oneDevice,
  ddp_backend: oneDevice,
  ddp_find_unused_parameters: oneDevice,
  ddp_bucket_cap_mb: oneDevice,
  ddp_broadcast_buffers: oneDevice,
  local_rank: oneDevice,
  torch_compile: noTorch,
  torch_compile_backend: noTorch,
  torch_compile_mode: noTorch,
  use_cpu: "Qwench computes with WebGPU, and uses a software adapter if there is no GPU",
  no_cuda: "Qwench computes with WebGPU, and uses a software adapter if there is no GPU",
  trust_remote_code: "Qwench never runs code from a model's repository",
  model_init_kwargs: "use the field for each setting, such as dtype or model_revision",
  optim_target_modules: "GaLore and APOLLO are not implemented",
  activation_offloading: "activations stay on the GPU; gradient_checkpointing reduces their memory",
  lora_target_parameters: "only linear projections get LoRA matrices; name them in lora_target_modules",
  lora_bias: "biases are frozen with use_peft",
  dataset_kwargs: "Qwench uses rows with input_ids without preparation",
  formatting_func: "a recipe holds no code; write rows in one of the known forms",
  auto_find_batch_size: "memory is forecast before training; `qwench plan` shows what fits",
  dataloader_drop_last: notYet,
  eval_accumulation_steps: "evaluation keeps sums only",
  batch_eval_metrics: "evaluation keeps sums only",
  include_for_metrics: "evaluation keeps sums only",
  label_names: "labels are in the column labels",
  save_only_model: "every checkpoint is resumable; the result at the end has no optimizer state",
  save_on_each_node: oneDevice,
  enable_jit_checkpoint: "Ctrl-C and SIGTERM save a checkpoint in every case",
  ignore_data_skip: "a resumed run continues with the next row",
  restore_callback_states_from_checkpoint: "there are no callbacks",
  push_to_hub: hub,
  hub_model_id: hub,
  hub_token: "a recipe must not hold secrets; set HF_TOKEN in the environment",
  hub_revision: hub,
  env: "set environment variables in the shell",
  debug: `${notYet}; ${trlOnly}`,
};

const oneTurn = "a recipe holds no code; name a module of functions in environment";
const fixedGrammar = "constrained generation is not implemented; reward the format instead";

const refusedBy: Readonly<Record<Method, Readonly<Record<string, string>>>> = {
  sft: { use_vllm: "SFT does not generate" },
  grpo: {
    neftune_noise_alpha: "noise on the embeddings would make training differ from sampling",
    vllm_structured_outputs_regex: fixedGrammar,
    vllm_guided_decoding_regex: fixedGrammar,
    reward_model_name_or_path: "reward models are not implemented; name functions in reward_funcs",
    sync_ref_model: "the reference stays as it is before training",
    tools: oneTurn,
    environment_factory: oneTurn,
    rollout_func: oneTurn,
    log_completions_hub_repo: hub,
  },
  dpo: {
    neftune_noise_alpha: "noise on the embeddings would make training differ from its reference",
    sync_ref_model: "the reference is the initial model or adapter, and never changes",
    dataset_format: "the data sets that Qwench knows hold no preferences",
    dataset_options: "the data sets that Qwench knows hold no preferences",
  },
};

/** Names from TRL, PEFT and transformers that a method accepts without effect. */
export function ignoredNames(method: Method): Readonly<Record<string, IgnoredName>> {
  return { ...ignoredByAll, ...ignoredBy[method] };
}

/** Names from TRL, PEFT and transformers that ask for something Qwench cannot do, with the reason. */
export function refusedNames(method: Method): Readonly<Record<string, string>> {
  return { ...refusedByAll, ...refusedBy[method] };
}

/** Whether one method, not Qwench as a whole, is the reason that a name is ignored or rejected. */
export function isSpecificTo(name: string, method: Method): boolean {
  return Object.hasOwn(ignoredBy[method], name) || Object.hasOwn(refusedBy[method], name);
}

/** Values that leave an option unused: `deepspeed: null` asks for nothing. */
export function isOff(value: unknown): boolean {
  if (value === null || value === undefined || value === false || value === 0) return true;
  if (typeof value === "object") return Object.keys(value).length === 0;
  return typeof value === "string" && /^(|none|null|no|false|0)$/i.test(value.trim());
}

/** Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let least = Math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        least = Math.min(least, beforeLast[j - 2] + 1);
      }
      row.push(least);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length];
}

/** The candidate nearest to `name`, or null if none is similar enough. */
export function nearestName(name: string, candidates: Iterable<string>): string | null {
  // a very long name is not a typing error, and the comparison below takes quadratic time
  if (name.length > 64) return null;
  const plain = name.toLowerCase().replaceAll("-", "_");
  let best: string | null = null;
  let bestScore = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const distance = editDistance(plain, candidate.toLowerCase());
    // by edits, `batch_size` is far from `per_device_train_batch_size`; by parts of the name, it is near
    const part = plain.length >= 4 && candidate.includes(plain) ? 2 : distance;
    const score = Math.min(distance, part);
    if (score < bestScore) {
      bestScore = score;
      best = candidate;
    }
  }
  return bestScore <= Math.max(2, Math.floor(name.length / 3)) ? best : null;
}
