import type { Field } from "../field.ts";

const both = ["sft", "grpo", "dpo"] as const;

/** Options of a run's output, checkpoints and resumption. */
export const savingFields = [
  {
    name: "output_dir",
    group: "saving",
    methods: both,
    type: "string",
    default: "trainer_output",
    help: "Folder for checkpoints, the adapter, metrics.jsonl and report.html.",
  },
  {
    name: "overwrite_output_dir",
    group: "saving",
    methods: both,
    type: "boolean",
    default: false,
    origin: "qwench",
    help: "Start a new run in an output_dir that already holds a run. Without this option, Qwench refuses such a folder.",
  },
  {
    name: "save_strategy",
    group: "saving",
    methods: both,
    type: "choice",
    choices: ["steps", "epoch", "no"],
    missing: { best: "set load_best_model_at_end, which keeps the best checkpoint" },
    default: "steps",
    help: "When to write a checkpoint. Qwench saves the result at the end in every case.",
  },
  {
    name: "save_steps",
    group: "saving",
    methods: both,
    type: "number",
    default: 500,
    above: 0,
    ratio: true,
    unit: "optimizer steps",
    help: "Steps from one checkpoint to the next. A number below 1 is a share of all steps.",
  },
  {
    name: "save_total_limit",
    group: "saving",
    methods: both,
    type: "integer",
    default: null,
    nullable: true,
    min: 1,
    unit: "checkpoints",
    help: "Most checkpoints that are kept. Older ones are deleted, except the best. null keeps all.",
  },
  {
    name: "resume_from_checkpoint",
    group: "saving",
    methods: both,
    type: "toggle",
    default: null,
    nullable: true,
    help: "true continues from the last checkpoint in output_dir. The path of a checkpoint continues from that one.",
  },
] as const satisfies readonly Field[];
