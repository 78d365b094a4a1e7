import type { DataSource, Job, Method, ModelSource, Preset } from "../src/client/types.ts";
import { modulesOf } from "./reward/shelf.ts";

export type MethodChoice = "sft" | "grpo" | "dpo" | "both";

/** The user's choices so far; null for a missing choice. */
export interface Draft {
  name: string;
  model: ModelSource | null;
  data: DataChoice;
  method: MethodChoice;
  recipes: Record<Method, Record<string, unknown>>;
  evaluate: { data: DataSource; problems: number } | null;
  /** the recipe forms as the user left them, also with errors */
  forms?: Partial<Record<Method, KeptForm>>;
  /** whether the user chose the held-out problems, which otherwise follow the data */
  touched?: boolean;
  /** the run whose adapter the first phase continues from */
  continues?: { id: string; name: string } | null;
}

/** The fields of a recipe form. `preset`: the recipe that it began with, "" after an edit. */
export interface KeptForm {
  preset: string;
  values: Record<string, unknown>;
}

/** The embedded rows depend on the method, so each phase uses its own. */
export type DataChoice = { kind: "embedded" } | Exclude<DataSource, { kind: "embedded" }> | null;

/** Number of held-out problems in the embedded job: enough for a score, few enough for a slow adapter. */
export const EMBEDDED_PROBLEMS = 40;

export const GSM8K = { kind: "hub", id: "openai/gsm8k", config: "main" } as const;

/** Hub models that are known to work, the default first. */
export const HUB_MODELS = [
  { id: "Qwen/Qwen2.5-0.5B-Instruct", about: "494 M parameters, 1 GB" },
  { id: "Qwen/Qwen2.5-0.5B", about: "494 M, not tuned for chat, 1 GB" },
  { id: "Qwen/Qwen2.5-Coder-0.5B-Instruct", about: "494 M, for code, 1 GB" },
  { id: "Qwen/Qwen3-0.6B", about: "596 M, thinks first, 1.5 GB" },
  { id: "Qwen/Qwen3.5-0.8B", about: "752 M without its vision tower, 1.7 GB" },
  { id: "Qwen/Qwen2.5-1.5B-Instruct", about: "1.5 B, 3.1 GB" },
  { id: "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", about: "1.8 B, thinks first, 3.6 GB" },
] as const;

export const METHODS_OF: Record<MethodChoice, readonly Method[]> = {
  sft: ["sft"],
  grpo: ["grpo"],
  dpo: ["dpo"],
  both: ["sft", "grpo"],
};

const EMBEDDED_ROWS = { sft: "sft", grpo: "prompts", dpo: "preferences" } as const satisfies Record<Method, string>;

/** The rows that a phase of a method uses from a choice. */
export function dataFor(choice: NonNullable<DataChoice>, method: Method): DataSource {
  return choice.kind === "embedded" ? { kind: "embedded", rows: EMBEDDED_ROWS[method] } : choice;
}

/** The job for the choices, or a message that says what is missing. */
export function jobOf(draft: Draft): Job | string {
  const { model, data, method, recipes, evaluate } = draft;
  if (!model) return "Choose a model.";
  if (!data) return "Choose the data to train on.";
  const phases = METHODS_OF[method].map((one) => ({
    method: one,
    data: dataFor(data, one),
    recipe: recipes[one],
    ...modulesOf(recipes[one]),
  }));
  const name = draft.name.trim() || nameOf(model, data);
  return { name, model, phases, evaluate, ...(draft.continues && { continues: draft.continues.id }) };
}

/** The job of the first button: SFT for the format, then GRPO for correct answers. */
export function embeddedJob(presets: readonly Preset[]): Job {
  const recipe = (method: Method) => presetFor(presets, method, "embedded")?.recipe ?? {};
  return {
    name: "Word problems",
    model: { kind: "embedded" },
    phases: (["sft", "grpo"] as const).map((method) => ({
      method,
      data: dataFor({ kind: "embedded" }, method),
      recipe: recipe(method),
    })),
    evaluate: { data: { kind: "embedded", rows: "prompts" }, problems: EMBEDDED_PROBLEMS },
  };
}

/** Presets for a model, those made for it first. */
export function presetsFor(presets: readonly Preset[], method: Method, model: ModelSource["kind"]): Preset[] {
  const own = presets.filter((preset) => preset.method === method && preset.model === model);
  return [...own, ...presets.filter((preset) => preset.method === method && preset.model === null)];
}

/** The default preset. */
export function presetFor(presets: readonly Preset[], method: Method, model: ModelSource["kind"]): Preset | null {
  return presetsFor(presets, method, model)[0] ?? null;
}

export function nameOfModel(model: ModelSource): string {
  if (model.kind === "embedded") return "embedded model";
  return model.kind === "files" ? model.name : model.id;
}

function dataName(data: DataSource | NonNullable<DataChoice>): string {
  if (data.kind === "embedded") return "word problems";
  return data.kind === "file" ? data.file.name : data.id;
}

/** A run name that is distinguishable in a list. */
export function nameOf(model: ModelSource, data: NonNullable<DataChoice>): string {
  const short = (name: string) => name.split("/").at(-1)!;
  return `${short(nameOfModel(model))} on ${short(dataName(data))}`;
}
