import type { RewardInput, Turn } from "../../src/client/types.ts";
import { formatNumber } from "../../src/text/numbers.ts";
import { cut } from "../../src/text/show.ts";
import { h } from "../dom.ts";
import type { Trial } from "./trial.ts";

const PROMPT = 160;

/** Completions beside their scores. @param edited receives the input after the user changed a completion */
export function trialTable(
  input: RewardInput,
  { functions, scores }: Trial,
  edited: (input: RewardInput) => void,
): HTMLElement {
  const row = (completion: Turn, i: number) => {
    const area = h("textarea", { rows: 2, "aria-label": `Completion ${i + 1}`, spellcheck: "false" });
    area.value = textOf(completion);
    area.addEventListener("change", () => edited(withCompletion(input, i, area.value)));
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, i + 1),
      h("td", { class: "prompt" }, cut(lastOf(input.prompts[i]), PROMPT)),
      h("td", {}, area),
      ...functions.map((_, k) => {
        const list = scores[k];
        const value = list?.[i];
        return h("td", { class: "score" }, list ? (value === null ? "null" : formatNumber(value)) : "–");
      }),
    );
  };
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Scores" },
    h(
      "table",
      { class: "trial-scores" },
      h(
        "thead",
        {},
        h("tr", {}, ...["Row", "Prompt", "Completion", ...functions].map((text) => h("th", { scope: "col" }, text))),
      ),
      h("tbody", {}, ...input.completions.map(row)),
    ),
  );
}

function withCompletion(input: RewardInput, row: number, text: string): RewardInput {
  const completions = input.completions.map((turn, i): Turn => {
    if (i !== row) return turn;
    return typeof turn === "string" ? text : [{ role: "assistant", content: text }, ...turn.slice(1)];
  });
  return { ...input, completions, completion_ids: null };
}

const textOf = (turn: Turn) => (typeof turn === "string" ? turn : (turn[0]?.content ?? ""));
const lastOf = (turn: Turn) => (typeof turn === "string" ? turn : (turn.at(-1)?.content ?? ""));
