import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Method } from "../../src/recipe/recipe.ts";

type ClassName =
  | "TrainingArguments"
  | "SFTConfig"
  | "GRPOConfig"
  | "DPOConfig"
  | "ModelConfig"
  | "ScriptArguments"
  | "DatasetMixtureConfig"
  | "GRPOScriptArguments";

interface FieldNames {
  versions: { trl: string; transformers: string };
  classes: Record<ClassName, string[]>;
}

/** Names of the fields of TRL's and transformers' configuration classes; `npm run trl-fields` makes the file anew. */
export const trlFields: FieldNames = JSON.parse(readFileSync(join(import.meta.dirname, "trl-fields.json"), "utf8"));

/** The classes that TRL's command of a method reads from --config. */
const CLASSES: Record<Method | "dpo", readonly ClassName[]> = {
  sft: ["SFTConfig", "ModelConfig", "ScriptArguments", "DatasetMixtureConfig"],
  grpo: ["GRPOConfig", "ModelConfig", "GRPOScriptArguments", "DatasetMixtureConfig"],
  dpo: ["DPOConfig", "ModelConfig", "ScriptArguments", "DatasetMixtureConfig"],
};

/** What `trl METHOD --config` knows; `gradient_checkpointing_use_reentrant` is of TRL before 1.13. */
export const namesOfTrl = (method: Method): Set<string> =>
  new Set(CLASSES[method].flatMap((name) => trlFields.classes[name]));

/** By method. */
export const TRL_FIELDS = { sft: namesOfTrl("sft"), grpo: namesOfTrl("grpo"), dpo: namesOfTrl("dpo") } as const;
