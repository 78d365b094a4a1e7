import type { CompletionRecord } from "../../src/client/types.ts";
import { rewardName } from "../../src/report/names.ts";
import { byPrompt, question } from "../../src/report/text.ts";
import { formatNumber, formatSigned } from "../../src/text/numbers.ts";
import { fill, h } from "../dom.ts";
import type { Run } from "../run.ts";
import { labelled, select } from "./choice.ts";
import { modelText } from "./model-text.ts";
import { pictures } from "./pictures.ts";

const LATEST = "latest";
const MOST_GROUPS = 3;
const MOST_OF_GROUP = 8;

/** Completions with rewards and advantages, grouped by prompt, from the newest step or a chosen earlier step. */
export function completions(run: Run, signal: AbortSignal): HTMLElement {
  let chosen = LATEST;
  let shown = "";
  const picker = h("div", { class: "pick" });
  const list = h("div", { class: "groups" });
  const element = h(
    "section",
    { class: "completions", "aria-labelledby": "completions-title" },
    h("div", { class: "row" }, h("h2", { id: "completions-title" }, "Completions"), picker),
    list,
  );

  const show = () => {
    const batches = run.record.completions;
    element.hidden = batches.length === 0;
    const newest = batches.at(-1);
    if (!newest) return;
    const key = (batch: typeof newest) => `${batch.phase}/${batch.step}`;
    const batch = batches.find((one) => key(one) === chosen) ?? newest;
    const state = `${chosen} ${batches.map(key).join(" ")}`;
    if (state === shown) return;
    shown = state;
    // do not change an open list of steps
    if (!picker.contains(document.activeElement) || chosen !== LATEST) {
      const steps = [...batches].reverse().map((one) => [key(one), `Step ${one.step}`] as const);
      const options = [[LATEST, `Latest, step ${newest.step}`] as const, ...steps];
      fill(
        picker,
        labelled(
          "Show",
          select(options, chosen, (value) => {
            chosen = value;
            show();
          }),
        ),
      );
    }
    const groups = byPrompt(batch.records);
    fill(
      list,
      ...groups.slice(0, MOST_GROUPS).map((records) => group(run, records)),
      groups.length > MOST_GROUPS &&
        h("p", { class: "about" }, `And ${groups.length - MOST_GROUPS} more prompts of this batch.`),
    );
  };
  run.watch(signal, show);
  return element;
}

function group({ record }: Run, records: readonly CompletionRecord[]): HTMLElement {
  const [{ prompt, images }] = records;
  const largest = Math.max(...records.map(({ advantage }) => Math.abs(advantage)), 1e-9);
  return h(
    "article",
    { class: "group" },
    h("h3", {}, question(prompt)),
    pictures(record, images),
    h(
      "ol",
      { tabindex: "0", "aria-label": "Completions of this prompt" },
      ...records.slice(0, MOST_OF_GROUP).map((record) => completion(record, largest)),
    ),
    records.length > MOST_OF_GROUP && h("p", { class: "about" }, `And ${records.length - MOST_OF_GROUP} more.`),
  );
}

function completion(
  { completion: text, rewards, advantage, finish_reason, length }: CompletionRecord,
  largest: number,
): HTMLElement {
  const sign = advantage > 0 ? "up" : advantage < 0 ? "down" : "flat";
  const bar = h("i");
  bar.style.width = `${(50 * Math.abs(advantage)) / largest}%`;
  const figure = (name: string, value: string, zero = false) =>
    h("div", { class: zero ? "zero" : null }, h("dt", {}, name), h("dd", {}, value));
  return h(
    "li",
    { class: `completion ${sign}` },
    h(
      "div",
      { class: "advantage" },
      h("span", {}, "advantage "),
      h("b", {}, formatSigned(advantage, 2)),
      h("span", { class: "track", "aria-hidden": "true" }, bar),
    ),
    modelText(text),
    h(
      "dl",
      { class: "scores" },
      ...Object.entries(rewards).map(([name, value]) => figure(rewardName(name), formatNumber(value), value === 0)),
      figure("tokens", `${formatNumber(length)}${finish_reason === "length" ? ", cut off" : ""}`),
    ),
  );
}
