import type { Field } from "../field.ts";

const all = ["sft", "grpo", "dpo"] as const;

/** LoRA's layers, ranks and initial values. Names and meanings follow PEFT's LoraConfig. */
export const peftFields = [
  {
    name: "exclude_modules",
    group: "peft",
    methods: all,
    type: "list",
    pattern: true,
    default: null,
    nullable: true,
    origin: "peft",
    help: "Projections of lora_target_modules that get no LoRA matrices: names, endings of their paths, or one regular expression for whole paths.",
  },
  {
    name: "layers_to_transform",
    group: "peft",
    methods: all,
    type: "list",
    of: "number",
    default: null,
    nullable: true,
    origin: "peft",
    help: "Layers, counted from 0, whose projections get LoRA matrices. null means all. As in PEFT, this needs names in lora_target_modules.",
  },
  {
    name: "rank_pattern",
    group: "peft",
    methods: all,
    type: "object",
    default: null,
    nullable: true,
    origin: "peft",
    help: 'Exceptions to lora_r: a mapping from endings of paths, or regular expressions for them, to ranks, such as {"q_proj": 32}. The first match counts.',
  },
  {
    name: "alpha_pattern",
    group: "peft",
    methods: all,
    type: "object",
    default: null,
    nullable: true,
    origin: "peft",
    help: "Exceptions to lora_alpha, in the form of rank_pattern.",
  },
  {
    name: "init_lora_weights",
    group: "peft",
    methods: all,
    type: "choice",
    choices: ["true", "gaussian", "orthogonal", "false"],
    synonyms: { true: "true", false: "false", default: "true", yes: "true", no: "false" },
    missing: {
      pissa: "it changes the weights of the base, which stay as they are here",
      olora: "it changes the weights of the base, which stay as they are here",
      corda: "it changes the weights of the base, which stay as they are here",
      loftq: "it changes the weights of the base, which stay as they are here",
      eva: "it needs a pass over the data before training",
    },
    default: "true",
    origin: "peft",
    help: "Initial values of the matrices. true: A uniform, B zero. gaussian: A normal with a standard deviation of 1 / rank, B zero. orthogonal: A and B from halves of an orthogonal basis, so that B·A is zero; ranks must be even. false: both random, which changes the model immediately, for tests.",
  },
] as const satisfies readonly Field[];
