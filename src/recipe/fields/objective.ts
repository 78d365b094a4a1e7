import { GRPO_LOSS_OPTIONS, grpoLossHelp, grpoLossTypes } from "../../../shaders/loss/grpo-losses.ts";
import type { Field } from "../field.ts";

const grpo = ["grpo"] as const;

type LossOptions = typeof GRPO_LOSS_OPTIONS;
type LossFields = { readonly [I in keyof LossOptions]: LossOptions[I] & { group: "grpo"; methods: typeof grpo } };
/** Options that belong to losses stand beside these. */
const lossFields = GRPO_LOSS_OPTIONS.map((option) => ({
  ...option,
  group: "grpo",
  methods: grpo,
})) as unknown as LossFields;

/** GRPO's loss: ratios, penalties, masks and bonus. Names, meanings and defaults are GRPOConfig's. */
export const objectiveFields = [
  {
    name: "loss_type",
    group: "grpo",
    methods: grpo,
    type: "choice",
    choices: grpoLossTypes,
    default: grpoLossTypes[0],
    help: grpoLossHelp(),
  },
  {
    name: "beta",
    group: "grpo",
    methods: grpo,
    type: "number",
    default: 0,
    min: 0,
    help: "Weight of the KL divergence from the reference: the model without its adapter, or, with adapter_name_or_path, with that adapter as it is before training. 0 computes no reference.",
  },
  {
    name: "use_bias_correction_kl",
    group: "grpo",
    methods: grpo,
    type: "boolean",
    default: true,
    help: "Multiply the KL divergence by the importance ratio, so that its gradient is that of the reverse KL. It changes the gradient of every step where beta is not 0. TRL before 1.13 has no such factor: false gives its numbers.",
  },
  {
    name: "num_iterations",
    group: "grpo",
    methods: grpo,
    type: "integer",
    default: 1,
    min: 1,
    unit: "iterations",
    help: "Times that a generation batch is trained on.",
  },
  ...lossFields,
  {
    name: "importance_sampling_level",
    group: "grpo",
    methods: grpo,
    type: "choice",
    choices: ["token", "sequence"],
    default: "token",
    help: "Whether each token has an importance ratio of its own, or a completion one for all, as in GSPO.",
  },
  {
    name: "mask_truncated_completions",
    group: "grpo",
    methods: grpo,
    type: "boolean",
    default: false,
    help: "Leave completions that were cut off at max_completion_length out of the loss.",
  },
  {
    name: "top_entropy_quantile",
    group: "grpo",
    methods: grpo,
    type: "number",
    default: 1,
    min: 0,
    max: 1,
    help: "Share of the tokens that count in the loss, those of highest entropy, such as 0.2. 1 counts all. Below 1 a step takes a second forward pass.",
  },
  {
    name: "off_policy_mask_threshold",
    group: "grpo",
    methods: grpo,
    type: "number",
    default: null,
    nullable: true,
    min: 0,
    unit: "nats a token",
    help: "Completions of negative advantage count nothing once their mean log-prob has fallen by more than this since they were generated, such as 0.5. null is off.",
  },
  {
    name: "entropy_coef",
    group: "grpo",
    methods: grpo,
    type: "number",
    default: 0,
    help: "Weight of an entropy bonus: the mean entropy of the tokens that count, times this, is taken off the loss. With use_adaptive_entropy it is the first value.",
  },
  {
    name: "use_adaptive_entropy",
    group: "grpo",
    methods: grpo,
    type: "boolean",
    default: false,
    help: "Change entropy_coef after every step: by entropy_coef_delta up where the entropy is at or below entropy_target, else down. The bonus applies only while the entropy is at or below entropy_target.",
  },
  {
    name: "entropy_coef_min",
    group: "grpo",
    methods: grpo,
    type: "number",
    default: 0,
    help: "Smallest entropy_coef that use_adaptive_entropy comes to.",
  },
  {
    name: "entropy_coef_max",
    group: "grpo",
    methods: grpo,
    type: "number",
    default: 1,
    help: "Largest entropy_coef that use_adaptive_entropy comes to.",
  },
  {
    name: "entropy_coef_delta",
    group: "grpo",
    methods: grpo,
    type: "number",
    default: 0.005,
    help: "What use_adaptive_entropy changes entropy_coef by in one step.",
  },
  {
    name: "entropy_target",
    group: "grpo",
    methods: grpo,
    type: "number",
    default: 0.2,
    unit: "nats",
    help: "Entropy that use_adaptive_entropy aims at. The default is reached only by a policy that has collapsed: set it near the entropy that the first logs show.",
  },
] as const satisfies readonly Field[];
