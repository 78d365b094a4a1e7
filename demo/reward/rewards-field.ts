import type { FormField } from "../../src/client/types.ts";
import { REWARD_ABOUTS } from "../../src/rewards/about.ts";
import type { App } from "../app.ts";
import { type Child, fill, h, uid } from "../dom.ts";
import type { FieldControl } from "../parts/recipe-field.ts";
import { judgePart } from "./judge-part.ts";
import { entryOf, partsOf, shelf } from "./shelf.ts";
import type { RewardValues } from "./values.ts";

/** The recipe options that this control shows; the form's list of all options leaves them out. */
export const REWARD_FIELDS: readonly string[] = [
  "reward_funcs",
  "reward_weights",
  "judge_url",
  "judge_model",
  "judge_prompt",
];

/** An entry of `reward_funcs` with its weight. */
interface Weighted {
  entry: string;
  weight: number;
}

/** The rewards of a GRPO recipe: chips with descriptions and weights, the user's own functions, and a judge. */
export function rewardsField(app: App, values: RewardValues, field: FormField): FieldControl {
  return new RewardsField(app, values, field);
}

class RewardsField implements FieldControl {
  readonly element: HTMLElement;
  readonly #app: App;
  readonly #field: FormField;
  readonly #values: RewardValues;
  readonly #chips = h("ul", { class: "reward-chips" });
  readonly #fault = h("p", { class: "wrong", id: uid("wrong"), role: "alert" });
  readonly #none = h(
    "p",
    { class: "about", id: uid("help") },
    "None chosen: word problems and GSM8K then take the five functions of the GSM8K recipe; other data need at least one.",
  );
  readonly #adder = h("select", { "aria-label": "Add a reward" });

  constructor(app: App, values: RewardValues, field: FormField) {
    this.#app = app;
    this.#values = values;
    this.#field = field;
    const write = h("button", { type: "button", class: "secondary small" }, "Write your own …");
    write.addEventListener("click", () => void this.#edit(null));
    this.#adder.addEventListener("change", () => {
      const { value } = this.#adder;
      if (value !== "") this.#put([...this.#list(), { entry: value, weight: 1 }]);
    });
    this.element = h(
      "fieldset",
      {
        class: "field list rewards",
        "data-field": "reward_funcs",
        "aria-describedby": `${this.#fault.id} ${this.#none.id}`,
      },
      h("legend", {}, "Rewards"),
      this.#chips,
      this.#none,
      this.#fault,
      h("div", { class: "actions add" }, this.#adder, write),
    );
    this.#show();
  }

  set(): void {
    this.#show();
  }

  fault(text: string | null): void {
    fill(this.#fault, text);
  }

  focus(): void {
    this.#adder.focus();
  }

  #list(): Weighted[] {
    const entries = this.#values.get("reward_funcs") ?? this.#field.default;
    const weights = this.#values.get("reward_weights");
    if (!Array.isArray(entries)) return [];
    return entries.map((entry, i) => ({
      entry: String(entry),
      weight: Array.isArray(weights) ? Number(weights[i] ?? 1) : 1,
    }));
  }

  #store(list: readonly Weighted[]): void {
    const even = list.every(({ weight }) => weight === 1);
    this.#values.set("reward_weights", even ? undefined : list.map(({ weight }) => weight));
    this.#values.set("reward_funcs", list.length === 0 ? undefined : list.map(({ entry }) => entry));
  }

  #put(list: readonly Weighted[]): void {
    this.#store(list);
    this.#show();
  }

  async #edit(name: string | null): Promise<void> {
    const { editReward, TRIAL_ROWS } = await import("./editor.ts");
    const rows = async () => {
      const { data, recipe } = this.#values.form;
      if (!data) throw new Error("Choose the data first");
      const found = await this.#app.trainer.data.rewardRows(data, recipe ?? {}, TRIAL_ROWS);
      if (found.problem !== null) throw new Error(found.problem);
      return { ...found, completion_ids: null, step: 0 };
    };
    const made = await editReward(this.#app, name, { rows });
    if (made === null) return this.#show();
    const before = this.#list();
    const isOf = (entry: string) => name !== null && partsOf(entry)?.name === name;
    const kept = before.filter(({ entry }) => !isOf(entry));
    if (made === "removed") return this.#put(kept);
    const weight = (entry: string) => before.find((one) => one.entry === entry)?.weight ?? 1;
    // a function that was in use stays in use; a new module is used at once
    const used = made.functions.filter((fn) => before.some(({ entry }) => isOf(entry) && partsOf(entry)?.fn === fn));
    const names = used.length > 0 ? used : made.functions.slice(0, 1);
    const added = names.map((fn) => entryOf(made.name, fn));
    this.#put([...kept, ...added.map((entry) => ({ entry, weight: weight(entry) }))]);
  }

  #chip({ entry, weight }: Weighted, i: number): HTMLElement {
    const own = partsOf(entry);
    const name = own?.fn ?? entry;
    const remove = h("button", { type: "button", class: "quiet", "aria-label": `Remove ${name}` }, "×");
    remove.addEventListener("click", () => {
      this.#put(this.#list().filter((_, k) => k !== i));
      this.#adder.focus();
    });
    const change = own && h("button", { type: "button", class: "quiet", "aria-label": `Edit ${name}` }, "Edit");
    change?.addEventListener("click", () => void this.#edit(own!.name));
    return h(
      "li",
      { class: "reward-chip" },
      h("div", { class: "words" }, h("b", {}, name), h("span", { class: "about" }, ...aboutOf(entry))),
      h("label", { class: "weight" }, h("span", {}, "Weight"), this.#weight(name, weight, i)),
      change,
      remove,
      entry === "judge" && judgePart(this.#app, this.#values),
    );
  }

  #weight(name: string, weight: number, i: number): HTMLInputElement {
    const input = h("input", {
      type: "text",
      inputmode: "decimal",
      value: String(weight),
      autocomplete: "off",
      "aria-label": `Weight of ${name}`,
    });
    input.addEventListener("change", () => {
      const text = input.value.trim().replace(",", ".");
      const value = Number(text);
      const good = text !== "" && Number.isFinite(value);
      fill(this.#fault, !good && `The weight of ${name} must be a number such as 0.5.`);
      if (!good) input.value = String(this.#list()[i].weight);
      // the chips stay as they are, so that the focus does
      else this.#store(this.#list().map((one, k) => (k === i ? { ...one, weight: value } : one)));
    });
    return input;
  }

  #show(): void {
    // typing into a judge's field must not replace it
    if (this.#chips.contains(document.activeElement) && document.activeElement?.closest(".judge")) return;
    const list = this.#list();
    this.#none.hidden = list.length > 0;
    fill(this.#chips, ...list.map((one, i) => this.#chip(one, i)));
    fill(this.#adder, ...choices(new Set(list.map(({ entry }) => entry))));
  }
}

/** The functions that can be added: the user's own, then the registered ones by their source. */
function choices(taken: ReadonlySet<string>): Child[] {
  const option = (value: string, text: string) => h("option", { value }, text);
  const mine = shelf().flatMap((module) => module.functions.map((fn) => [entryOf(module.name, fn), fn] as const));
  const left = mine.filter(([entry]) => !taken.has(entry));
  const known = REWARD_ABOUTS.filter((one) => !one.names.some((name) => taken.has(name)));
  const sources = [...new Set(known.map(({ source }) => source))];
  const of = (source: string) =>
    known
      .filter((one) => one.source === source)
      .map(({ names: [name], about }) => option(name, `${name}: ${about.replaceAll("`", "")}`));
  return [
    option("", "Add a reward …"),
    left.length > 0 && h("optgroup", { label: "Yours" }, ...left.map(([entry, fn]) => option(entry, fn))),
    ...sources.map((source) => h("optgroup", { label: source }, ...of(source))),
  ];
}

/** A reward's description, with its tags as code. */
function aboutOf(entry: string): Child[] {
  const own = partsOf(entry);
  if (own) {
    const here = shelf().some(({ name }) => name === own.name);
    return here
      ? [`yours, from ${own.name}`]
      : [h("span", { class: "wrong" }, `${own.name} is not in this browser: edit it to write it again`)];
  }
  const known = REWARD_ABOUTS.find(({ names }) => names.includes(entry));
  if (!known) return [h("span", { class: "wrong" }, "no function of this name")];
  return known.about.split("`").map((part, i) => (i % 2 === 1 ? h("code", {}, part) : part));
}
