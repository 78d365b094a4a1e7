import type { CreateType, PairSizes } from "../../src/client/types.ts";
import { h, uid } from "../dom.ts";
import { choice, labelled } from "../parts/choice.ts";

const TYPES: readonly { value: CreateType; title: string; about: string }[] = [
  { value: "qa", title: "Questions and answers", about: "About facts of each chunk" },
  { value: "cot", title: "With reasoning", about: "Questions, steps and answers" },
  { value: "summary", title: "Summaries", about: "One of each chunk, in 3 to 5 sentences" },
];

/** The user's choices; they last while the tab is open. */
export const chosen = {
  type: "qa" as CreateType,
  num_pairs: 25,
  sizes: { max_seq_length: null, max_generation_tokens: null } as PairSizes,
  threshold: 7,
  rate: true,
  support: false,
};

/** A whole number; empty: automatic. */
function sizeField(
  label: string,
  help: string,
  value: number | null,
  set: (value: number | null) => void,
): HTMLElement {
  const input = h("input", { type: "number", min: 1, value, placeholder: "automatic", inputmode: "numeric" });
  input.addEventListener("change", () =>
    set(input.value === "" ? null : Math.max(1, Math.round(input.valueAsNumber) || 1)),
  );
  return labelled(label, input, help);
}

export function whatToMake(changed: () => void): HTMLElement {
  const size = (name: keyof PairSizes) => (value: number | null) => {
    chosen.sizes = { ...chosen.sizes, [name]: value };
    changed();
  };
  return h(
    "div",
    { class: "picker" },
    choice<CreateType>("What to make", TYPES, chosen.type, (value) => {
      chosen.type = value;
    }),
    h(
      "details",
      { class: "more" },
      h("summary", {}, "Sizes"),
      h(
        "div",
        { class: "columns" },
        sizeField("Pairs of a chunk", "At most; a model may write fewer.", chosen.num_pairs, (value) => {
          chosen.num_pairs = Math.min(1000, value ?? 25);
        }),
        sizeField(
          "Tokens of prompt and reply",
          "A chunk has this, less two replies and 128 tokens.",
          chosen.sizes.max_seq_length,
          size("max_seq_length"),
        ),
        sizeField("Tokens of a reply", "At most.", chosen.sizes.max_generation_tokens, size("max_generation_tokens")),
      ),
    ),
  );
}

/** How pairs are left out. */
export function curateOptions(changed: () => void): HTMLElement {
  const check = (label: string, on: boolean, set: (on: boolean) => void) => {
    const id = uid("check");
    const box = h("input", { type: "checkbox", id, checked: on });
    box.addEventListener("change", () => {
      set(box.checked);
      changed();
    });
    return h("div", { class: "field check" }, h("label", { for: id }, box, label));
  };
  const threshold = h("input", {
    type: "number",
    min: 1,
    max: 10,
    step: 1,
    value: chosen.threshold,
    inputmode: "numeric",
  });
  threshold.addEventListener("change", () => {
    chosen.threshold = Math.max(1, Math.min(10, threshold.valueAsNumber || 7));
    threshold.value = String(chosen.threshold);
  });
  return h(
    "details",
    { class: "more" },
    h("summary", {}, "Clean up"),
    h(
      "div",
      { class: "picker" },
      check("Have each pair rated from 1 to 10", chosen.rate, (on) => {
        chosen.rate = on;
      }),
      labelled("Keep from rating", threshold),
      check("Drop answers that the text does not support", chosen.support, (on) => {
        chosen.support = on;
      }),
      h("p", { class: "about" }, "Near-duplicates always go."),
    ),
  );
}
