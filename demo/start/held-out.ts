import { h } from "../dom.ts";
import { type Draft, EMBEDDED_PROBLEMS, GSM8K } from "../jobs.ts";
import { labelled, select } from "../parts/choice.ts";

type HeldOut = "embedded" | "gsm8k" | "none";

/** The evaluation problems and their number. Follows the choice of data until the user changes it. */
export function heldOutChoice(
  draft: Draft,
  changed: () => void,
): { element: HTMLElement; follow(value: HeldOut): void } {
  const first = draft.evaluate?.problems ?? EMBEDDED_PROBLEMS;
  const count = h("input", { type: "number", min: 1, max: 1000, value: first, inputmode: "numeric" });
  const number = labelled(
    "How many",
    count,
    "The model solves them before the first phase and after each phase. More problems take longer and measure more precisely.",
  );
  const list = select(
    [
      ["embedded", "Word problems"],
      ["gsm8k", "GSM8K, test split"],
      ["none", "None"],
    ],
    !draft.evaluate ? "none" : draft.evaluate.data.kind === "hub" ? "gsm8k" : "embedded",
    () => {
      draft.touched = true;
      apply();
    },
  );
  const apply = () => {
    const problems = Math.max(1, Math.min(1000, Math.round(count.valueAsNumber) || EMBEDDED_PROBLEMS));
    number.hidden = list.value === "none";
    if (list.value === "none") draft.evaluate = null;
    else if (list.value === "gsm8k") draft.evaluate = { data: { ...GSM8K, split: "test" }, problems };
    else draft.evaluate = { data: { kind: "embedded", rows: "prompts" }, problems };
    changed();
  };
  count.addEventListener("change", apply);
  number.hidden = draft.evaluate === null;
  return {
    element: h("div", { class: "held-out" }, labelled("Problems", list), number),
    follow(value) {
      if (draft.touched || list.value === value) return;
      list.value = value;
      apply();
    },
  };
}
