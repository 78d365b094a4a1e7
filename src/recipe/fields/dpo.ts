import { dpoLossHelp, dpoLossTypes, MISSING_DPO_LOSSES } from "../../../shaders/loss/dpo-losses.ts";
import type { Field } from "../field.ts";

const dpo = ["dpo"] as const;

/** DPO's own options. Names, meanings and defaults follow DPOConfig. */
export const dpoFields = [
  {
    name: "loss_type",
    group: "dpo",
    methods: dpo,
    type: "choice",
    choices: dpoLossTypes,
    missing: MISSING_DPO_LOSSES,
    default: dpoLossTypes[0],
    help: dpoLossHelp(),
  },
  {
    name: "beta",
    group: "dpo",
    methods: dpo,
    type: "number",
    default: 0.1,
    above: 0,
    help: "How closely training stays to the reference: the model with its adapter off or, if training continues from an adapter, that initial adapter. Larger values stay closer. In ipo it is the regularisation.",
  },
  {
    name: "label_smoothing",
    group: "dpo",
    methods: dpo,
    type: "number",
    default: 0,
    min: 0,
    below: 0.5,
    help: "Assumed share of pairs with swapped labels. Only robust and exo_pair use it; exo_pair needs more than 0, such as 1e-3.",
  },
  {
    name: "precompute_ref_log_probs",
    group: "dpo",
    methods: dpo,
    type: "boolean",
    default: false,
    help: "Compute the reference's log-probs of all pairs before training, not in each step. This is faster over several epochs. Training all weights (use_peft: false) needs it.",
  },
  {
    name: "precompute_ref_batch_size",
    group: "dpo",
    methods: dpo,
    type: "integer",
    default: null,
    nullable: true,
    min: 1,
    unit: "pairs",
    help: "Pairs in one pass of precompute_ref_log_probs. null uses the batch sizes of training and evaluation.",
  },
] as const satisfies readonly Field[];
