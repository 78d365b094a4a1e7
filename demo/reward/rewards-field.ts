import type { DataSource, FormField } from "../../src/client/types.ts";
import { REWARD_ABOUTS } from "../../src/rewards/about.ts";
import type { App } from "../app.ts";
import { type Child, fill, h, uid } from "../dom.ts";
import { labelled } from "../parts/choice.ts";
import type { FieldControl } from "../parts/recipe-field.ts";
import { DEFAULT_JUDGE, judgeKey, setJudgeKey } from "./judge-key.ts";
import { entryOf, partsOf, shelf } from "./shelf.ts";

/** The recipe options that this control shows; the form's list of all options leaves them out. */
export const REWARD_FIELDS: readonly string[] = [
  "reward_funcs",
  "reward_weights",
  "judge_url",
  "judge_model",
  "judge_prompt",
];

/** The recipe's values behind the control. */
interface RewardValues {
  get(name: string): unknown;
  /** undefined restores the default */
  set(name: string, value: unknown): void;
  /** the rows to try a reward on; null: none are chosen */
  data(): DataSource | null;
  recipe(): Record<string, unknown>;
}

const EDIT = "edit";

/** The rewards of a GRPO recipe: chips with descriptions and weights, the user's own functions, and a judge. */
export function rewardsField(app: App, field: FormField, values: RewardValues): FieldControl {
  const [helpId, faultId] = [uid("help"), uid("wrong")];
  const chips = h("ul", { class: "reward-chips" });
  const fault = h("p", { class: "wrong", id: faultId, role: "alert" });
  const none = h(
    "p",
    { class: "about", id: helpId },
    "None chosen: word problems and GSM8K then take the five functions of the GSM8K recipe; other data need at least one.",
  );
  const adder = h("select", { "aria-label": "Add a reward" });
  const write = h("button", { type: "button", class: "secondary small" }, "Write your own …");

  const chosen = (): string[] => {
    const value = values.get("reward_funcs") ?? field.default;
    return Array.isArray(value) ? value.map(String) : [];
  };
  const weights = (): number[] => {
    const value = values.get("reward_weights");
    return chosen().map((_, i) => (Array.isArray(value) ? Number(value[i] ?? 1) : 1));
  };
  const put = (list: readonly { entry: string; weight: number }[]) => {
    const even = list.every(({ weight }) => weight === 1);
    values.set("reward_weights", even ? undefined : list.map(({ weight }) => weight));
    values.set("reward_funcs", list.length === 0 ? undefined : list.map(({ entry }) => entry));
    show();
  };
  const pairs = () => chosen().map((entry, i) => ({ entry, weight: weights()[i] }));

  const edit = async (name: string | null) => {
    const { editReward, TRIAL_ROWS } = await import("./editor.ts");
    const rows = async () => {
      const data = values.data();
      if (!data) throw new Error("Choose the data first");
      const found = await app.trainer.data.rewardRows(data, values.recipe(), TRIAL_ROWS);
      if (found.problem !== null) throw new Error(found.problem);
      return { ...found, completion_ids: null, step: 0 };
    };
    const made = await editReward(app, name, { rows });
    if (made === null) return;
    const isOf = (entry: string) => name !== null && partsOf(entry)?.name === name;
    if (made === "removed") return put(pairs().filter(({ entry }) => !isOf(entry)));
    const before = pairs();
    const kept = before.filter(({ entry }) => !isOf(entry));
    const weight = (entry: string) => before.find((one) => one.entry === entry)?.weight ?? 1;
    // a function that was in use stays in use; a new module is used at once
    const used = made.functions.filter((fn) => before.some(({ entry }) => isOf(entry) && partsOf(entry)?.fn === fn));
    const names = name !== null && used.length > 0 ? used : made.functions.slice(0, 1);
    const added = names.map((fn) => entryOf(made.name, fn));
    put([...kept, ...added.map((entry) => ({ entry, weight: weight(entry) }))]);
  };

  const chip = ({ entry, weight }: { entry: string; weight: number }, i: number): HTMLElement => {
    const own = partsOf(entry);
    const name = own?.fn ?? entry;
    const heavy = h("input", { type: "text", inputmode: "decimal", value: String(weight), autocomplete: "off" });
    heavy.addEventListener("change", () => {
      const value = Number(heavy.value.trim().replace(",", "."));
      if (heavy.value.trim() === "" || !Number.isFinite(value)) {
        heavy.value = String(weight);
        return fill(fault, `The weight of ${name} must be a number such as 0.5.`);
      }
      fill(fault);
      put(pairs().map((one, k) => (k === i ? { ...one, weight: value } : one)));
    });
    const remove = h("button", { type: "button", class: "quiet", "aria-label": `Remove ${name}` }, "×");
    remove.addEventListener("click", () => {
      put(pairs().filter((_, k) => k !== i));
      adder.focus();
    });
    const change = own && h("button", { type: "button", class: "quiet" }, "Edit");
    change?.addEventListener("click", () => void edit(own!.name));
    return h(
      "li",
      { class: "reward-chip" },
      h("div", { class: "words" }, h("b", {}, name), h("span", { class: "about" }, ...aboutOf(entry))),
      h("label", { class: "weight" }, h("span", {}, "Weight"), heavy),
      change,
      remove,
      entry === "judge" && judgePart(values),
    );
  };

  const show = () => {
    // typing into a judge's field must not replace it
    if (chips.contains(document.activeElement) && document.activeElement?.closest(".judge")) return;
    const list = pairs();
    none.hidden = list.length > 0;
    fill(chips, ...list.map(chip));
    const names = new Set(list.map(({ entry }) => entry));
    const option = (value: string, text: string) => h("option", { value }, text);
    const mine = shelf().flatMap((module) => module.functions.map((fn) => [entryOf(module.name, fn), fn] as const));
    const left = mine.filter(([entry]) => !names.has(entry));
    const known = REWARD_ABOUTS.filter((one) => !one.names.some((name) => names.has(name)));
    const sources = [...new Set(known.map(({ source }) => source))];
    fill(
      adder,
      option("", "Add a reward …"),
      left.length > 0 && h("optgroup", { label: "Yours" }, ...left.map(([entry, fn]) => option(entry, fn))),
      ...sources.map((source) =>
        h(
          "optgroup",
          { label: source },
          ...known
            .filter((one) => one.source === source)
            .map(({ names: [name], about }) => option(name, `${name}: ${about.replaceAll("`", "")}`)),
        ),
      ),
    );
  };
  adder.addEventListener("change", () => {
    const { value } = adder;
    if (value !== "" && value !== EDIT) put([...pairs(), { entry: value, weight: 1 }]);
  });
  write.addEventListener("click", () => void edit(null));
  show();
  return {
    element: h(
      "fieldset",
      { class: "field list rewards", "aria-describedby": `${faultId} ${helpId}` },
      h("legend", {}, "Rewards"),
      chips,
      none,
      fault,
      h("div", { class: "actions add" }, adder, write),
    ),
    set: show,
    fault: (text) => fill(fault, text),
    focus: () => adder.focus(),
  };
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

/** The judge's endpoint, model, prompt and key. */
function judgePart(values: RewardValues): HTMLElement {
  const text = (name: string) => String(values.get(name) ?? "");
  const url = h("input", { type: "text", value: text("judge_url"), placeholder: DEFAULT_JUDGE, inputmode: "url" });
  const model = h("input", {
    type: "text",
    value: text("judge_model"),
    placeholder: "gpt-4o-mini",
    autocomplete: "off",
  });
  const prompt = h("textarea", {
    rows: 4,
    placeholder: "Judge how well {completion} answers {prompt}. End with a line Score: N.",
  });
  prompt.value = text("judge_prompt");
  const address = () => url.value.trim() || DEFAULT_JUDGE;
  const key = h("input", { type: "password", value: judgeKey(address()), autocomplete: "off", spellcheck: "false" });
  const tie = (control: HTMLInputElement | HTMLTextAreaElement, name: string) =>
    control.addEventListener("input", () => values.set(name, control.value.trim() || undefined));
  tie(url, "judge_url");
  tie(model, "judge_model");
  tie(prompt, "judge_prompt");
  key.addEventListener("input", () => setJudgeKey(address(), key.value.trim()));
  url.addEventListener("change", () => (key.value = judgeKey(address())));
  return h(
    "div",
    { class: "judge fields" },
    labelled(
      "Endpoint",
      url,
      "OpenAI-compatible, up to /v1. It gets the prompts and completions, and must allow this page (CORS).",
    ),
    labelled("Model that grades", model),
    labelled("Key", key, "Kept in memory until the tab closes, and sent to this endpoint only."),
    labelled(
      "Prompt",
      prompt,
      "With {prompt}, {completion}, {score_min}, {score_max} and any column such as {answer}. Empty: Qwench's own.",
    ),
  );
}
