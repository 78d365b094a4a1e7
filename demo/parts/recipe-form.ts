import type { DataSource, FormField, Method, ModelSource, Preset } from "../../src/client/types.ts";
import { METHOD_NAMES } from "../../src/report/names.ts";
import type { App } from "../app.ts";
import { settled } from "../cell.ts";
import { fill, h } from "../dom.ts";
import { reveal } from "../errors/field.ts";
import { words } from "../format.ts";
import { type KeptForm, presetFor, presetsFor } from "../jobs.ts";
import { problemOf } from "../problems.ts";
import { REWARD_FIELDS, rewardsField } from "../reward/rewards-field.ts";
import { labelled, select } from "./choice.ts";
import { type FieldControl, fieldControl } from "./recipe-field.ts";
import { recipeYaml } from "./recipe-yaml.ts";

/** The most important options, in order. */
const FIRST: Record<Method, readonly string[]> = {
  sft: ["learning_rate", "max_steps", "num_train_epochs", "per_device_train_batch_size", "lora_r", "max_length"],
  grpo: [
    "learning_rate",
    "max_steps",
    "num_generations",
    "max_completion_length",
    "temperature",
    "beta",
    "reward_funcs",
  ],
  dpo: ["learning_rate", "max_steps", "num_train_epochs", "per_device_train_batch_size", "beta", "loss_type"],
};

/** Options that the page sets (model, data and folder of a run) or does not use. */
const DECIDED = new Set(
  "model_name_or_path model_revision adapter_name_or_path dataset_name dataset_config dataset_train_split dataset_test_split eval_dataset_name test_split_size chat_template_path output_dir overwrite_output_dir resume_from_checkpoint profile log_completions num_completions_to_print".split(
    " ",
  ),
);

const CUSTOM = "";

/** The recipe of one phase as a form. */
export interface RecipeForm {
  element: HTMLElement;
  /** null while the form has an error */
  recipe: Record<string, unknown> | null;
  /** the phase's rows, to try rewards on */
  data: DataSource | null;
  /** a new model selects another preset, unless the user edited the recipe */
  setModel(kind: ModelSource["kind"]): void;
  /** the fields as the user left them */
  kept(): KeptForm;
  /** sets fields as if the user had typed them */
  change(fields: Record<string, unknown>): void;
}

/** @param begin the kind of model, whose preset the form shows first, or the fields that the user left */
export async function recipeForm(
  app: App,
  method: Method,
  begin: { model: ModelSource["kind"]; kept?: KeptForm },
  presets: readonly Preset[],
  signal: AbortSignal,
  changed: () => void,
): Promise<RecipeForm> {
  const fields = (await app.trainer.recipe.fields(method)).filter(({ name }) => !DECIDED.has(name));
  const { model, kept } = begin;
  const first = kept ? null : presetFor(presets, method, model);
  let kind = model;
  let preset = kept?.preset ?? first?.id ?? CUSTOM;
  let values: Record<string, unknown> = { ...(kept?.values ?? first?.recipe) };
  const controls = new Map<string, FieldControl>();
  const general = h("p", { class: "wrong", role: "alert" });
  const [notes, presetAbout] = [h("ul", { class: "notes" }), h("p", { class: "about" })];
  const presetBox = h("div", { class: "preset" });

  const form: RecipeForm = {
    element: h("div", { class: "recipe" }),
    recipe: values,
    data: null,
    setModel(next) {
      kind = next;
      if (preset === CUSTOM) return showPresets();
      usePreset(presetFor(presets, method, next)?.id ?? CUSTOM);
    },
    kept: () => ({ preset, values: { ...values } }),
    change: (fields) => take({ ...values, ...fields }),
  };
  const take = (next: Record<string, unknown>) => {
    preset = CUSTOM;
    values = next;
    showValues();
    showPresets();
    void check();
  };

  const showPresets = () => {
    const offered = presetsFor(presets, method, kind);
    const list = select(
      [...offered.map(({ id, name }) => [id, name] as const), [CUSTOM, "Own values"] as const],
      preset,
      usePreset,
    );
    fill(presetBox, labelled("Begin with", list), presetAbout);
    fill(presetAbout, presets.find(({ id }) => id === preset)?.help ?? "Custom values.");
  };
  const usePreset = (id: string) => {
    preset = id;
    const chosen = presets.find((one) => one.id === id);
    if (chosen) {
      values = { ...chosen.recipe };
      showValues();
      void check();
    }
    showPresets();
  };
  const showValues = () => {
    for (const [name, control] of controls) control.set(values[name]);
  };

  let checks = 0;
  const check = async () => {
    const own = ++checks;
    try {
      const parsed = await app.trainer.recipe.parse(values, method);
      if (own !== checks || signal.aborted) return;
      form.recipe = parsed.recipe;
      showFault(null);
      fill(notes, ...parsed.notes.map((note) => h("li", {}, note)));
      yaml.refresh(parsed.recipe);
    } catch (error) {
      if (own !== checks || signal.aborted) return;
      form.recipe = null;
      showFault(problemOf(error).text);
    }
    changed();
  };
  const showFault = faultsBeside(controls, general);
  const checkSoon = settled(30, signal, check);

  const put = (name: string, value: unknown) => {
    if (value === undefined) delete values[name];
    else values[name] = value;
    if (preset !== CUSTOM) {
      preset = CUSTOM;
      showPresets();
    }
    checkSoon();
  };
  const rewards = { get: (name: string) => values[name], set: put, form };
  const control = (field: FormField): HTMLElement => {
    const make = field.name === "reward_funcs" ? rewardsField.bind(null, app, rewards) : fieldControl;
    const made = make(field, (value) => put(field.name, value));
    controls.set(field.name, made);
    made.set(values[field.name]);
    return made.element;
  };

  const yaml = recipeYaml(app, method, (recipe) => take({ ...recipe }));
  const top = FIRST[method].flatMap((name) => fields.find((field) => field.name === name) ?? []);
  showPresets();
  fill(
    form.element,
    presetBox,
    h("div", { class: "fields" }, ...top.map(control)),
    general,
    notes,
    allFields(
      method,
      fields.filter((field) => !top.includes(field) && !REWARD_FIELDS.includes(field.name)),
      control,
    ),
    yaml.element,
  );
  await check();
  return form;
}

/** Shows errors beside the fields named at their start, else in the form's own line. Reveals a field whose error is new. */
function faultsBeside(
  controls: ReadonlyMap<string, FieldControl>,
  general: HTMLElement,
): (text: string | null) => void {
  let shown: string | null = null;
  return (text) => {
    const at = text === null ? null : (/^([a-z_0-9]+) /.exec(text)?.[1] ?? null);
    for (const [name, control] of controls) control.fault(name === at ? text : null);
    fill(general, text !== null && !controls.has(at ?? "") && text);
    if (at !== shown) revealUnlessIn(controls.get(at ?? "")?.element);
    shown = at;
  };
}

/** Fields by group, collapsed. */
function allFields(
  method: Method,
  fields: readonly FormField[],
  control: (field: FormField) => HTMLElement,
): HTMLElement {
  const groups = [...new Set(fields.map(({ group }) => group))];
  return h(
    "details",
    { class: "more" },
    h("summary", {}, `All ${METHOD_NAMES[method]} options`),
    ...groups.map((group) =>
      h(
        "section",
        { class: "group" },
        h("h4", {}, group === "grpo" || group === "dpo" ? METHOD_NAMES[group] : words(group)),
        h("div", { class: "fields" }, ...fields.filter((field) => field.group === group).map(control)),
      ),
    ),
  );
}

/** Shows a wrong field, unless the user is in it. */
function revealUnlessIn(element: HTMLElement | undefined): void {
  if (element && !element.contains(document.activeElement)) reveal(element);
}
