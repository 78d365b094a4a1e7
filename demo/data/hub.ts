import type { DataSource } from "../../src/client/types.ts";
import { messageOf } from "../../src/text/show.ts";
import { settled } from "../cell.ts";
import { fill, h } from "../dom.ts";
import { labelled, select } from "../parts/choice.ts";

const HUB = "https://huggingface.co";
const SERVER = "https://datasets-server.huggingface.co";
const FOUND = 8;

export type HubData = Extract<DataSource, { kind: "hub" }>;

/** A data set's id, config and split in an address of the hub, or in an id; null if it is neither. */
export function hubDataOf(text: string): { id: string; config?: string; split?: string } | null {
  const plain = text.trim();
  const found =
    /^(?:https?:\/\/(?:www\.)?(?:huggingface\.co|hf\.co)\/)?datasets\/([\w.-]+\/[\w.-]+|[\w.-]+)(?:\/viewer(?:\/([\w.-]+)(?:\/([\w.-]+))?)?)?\/?(?:[?#].*|\/tree\/.*)?$/.exec(
      plain,
    );
  if (found) {
    const [, id, config, split] = found;
    return { id, ...(config && { config }), ...(split && { split }) };
  }
  return /^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(plain) ? { id: plain } : null;
}

/** Chooses a data set of the hub: by search, or by its address. Asks the hub only when the user types. */
export function hubPicker(signal: AbortSignal, changed: (data: HubData | null) => void): HTMLElement {
  const text = h("input", { type: "text", autocomplete: "off", spellcheck: "false", placeholder: "openai/gsm8k" });
  const results = h("ul", { class: "hub-results" });
  const said = h("p", { class: "about", role: "status" });
  const parts = h("div", { class: "columns" });
  let asked = 0;

  const choose = async (wanted: { id: string; config?: string; split?: string }) => {
    const own = ++asked;
    text.value = wanted.id;
    fill(results);
    fill(parts);
    fill(said, `Looking at ${wanted.id} …`);
    const answer = await splitsOf(wanted.id);
    if (own !== asked || signal.aborted) return;
    if (typeof answer === "string") {
      // the hub's list is a help, and the data set may still be read
      fill(said, `${answer} Taking the split train.`);
      return changed({ kind: "hub", ...wanted });
    }
    fill(said, wanted.id);
    const configs = [...new Set(answer.map(({ config }) => config))];
    const state = { config: wanted.config && configs.includes(wanted.config) ? wanted.config : configs[0], split: "" };
    const show = () => {
      const splits = answer.filter(({ config }) => config === state.config).map(({ split }) => split);
      if (!splits.includes(state.split)) {
        state.split = [wanted.split, "train"].find((one) => one && splits.includes(one)) ?? splits[0];
      }
      const list = (name: string, values: readonly string[], chosen: string, set: (value: string) => void) =>
        values.length > 1 &&
        labelled(
          name,
          select(
            values.map((value) => [value, value] as const),
            chosen,
            (value) => {
              set(value);
              show();
            },
          ),
        );
      // the lists are made anew: the focus stays on the one that the user changed
      const held = [...parts.querySelectorAll("select")].indexOf(document.activeElement as HTMLSelectElement);
      fill(
        parts,
        list("Config", configs, state.config, (value) => (state.config = value)),
        list("Split", splits, state.split, (value) => (state.split = value)),
      );
      parts.querySelectorAll("select")[held]?.focus();
      changed({ kind: "hub", id: wanted.id, ...state });
    };
    show();
  };

  const search = async () => {
    const own = ++asked;
    const wanted = text.value.trim();
    fill(parts);
    fill(results);
    if (wanted === "") return fill(said);
    const exact = hubDataOf(wanted);
    if (exact && /^https?:|^datasets\//.test(wanted)) return choose(exact);
    fill(said, "Searching …");
    try {
      const response = await fetch(
        `${HUB}/api/datasets?search=${encodeURIComponent(wanted)}&limit=${FOUND}&sort=downloads`,
        {
          signal,
        },
      );
      if (!response.ok) throw new Error(`the hub answers ${response.status}`);
      const found = ((await response.json()) as { id: string; downloads?: number }[]).filter(({ id }) => hubDataOf(id));
      if (own !== asked) return;
      fill(said, found.length === 0 ? "Nothing found." : `${found.length} found; choose one.`);
      fill(results, ...found.map(({ id, downloads }) => result(id, downloads)));
    } catch (error) {
      if (own !== asked || signal.aborted) return;
      fill(said, `The hub cannot be searched (${messageOf(error)}).`);
      if (exact) fill(results, result(exact.id));
    }
  };
  const result = (id: string, downloads?: number) =>
    h(
      "li",
      {},
      h(
        "button",
        { type: "button", class: "secondary small", on: { click: () => void choose({ id }) } },
        id,
        downloads !== undefined && h("span", { class: "about" }, ` ${downloads.toLocaleString("en")} downloads`),
      ),
    );
  const soon = settled(350, signal, () => void search());
  text.addEventListener("input", () => {
    changed(null);
    soon();
  });
  return h(
    "div",
    { class: "hub-picker" },
    labelled("Search, or an address", text, "What you type is sent to huggingface.co."),
    said,
    results,
    parts,
  );
}

/** A data set's configs and splits, or why the hub does not list them. */
async function splitsOf(id: string): Promise<{ config: string; split: string }[] | string> {
  try {
    const response = await fetch(`${SERVER}/splits?dataset=${encodeURIComponent(id)}`);
    const { splits, error } = (await response.json()) as {
      splits?: { config: string; split: string }[];
      error?: string;
    };
    if (Array.isArray(splits) && splits.length > 0) return splits;
    return `The hub lists no splits of ${id}${error ? `: ${error.replace(/\.$/, "")}` : ""}.`;
  } catch (error) {
    return `The hub does not answer (${messageOf(error)}).`;
  }
}

/** The first rows of a split, without downloading it; null if the hub does not show them. */
export async function firstRows({ id, config, split }: HubData): Promise<File | null> {
  if (!config || !split) return null;
  const query = new URLSearchParams({ dataset: id, config, split });
  try {
    const response = await fetch(`${SERVER}/first-rows?${query}`);
    const { rows } = (await response.json()) as { rows?: { row: unknown }[] };
    if (!Array.isArray(rows) || rows.length === 0) return null;
    return new File([rows.map(({ row }) => `${JSON.stringify(row)}\n`).join("")], "first-rows.jsonl");
  } catch {
    return null;
  }
}
