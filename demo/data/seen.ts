import type { DataSource, Method, ModelSource, SeenRows } from "../../src/client/types.ts";
import { bins, quantile } from "../../src/text/bins.ts";
import { counted, formatCount } from "../../src/text/numbers.ts";
import type { App } from "../app.ts";
import { type Child, fill, h } from "../dom.ts";
import { problemOf } from "../problems.ts";

/** The model and the recipe through which rows are seen. */
export interface SeenAs {
  model: ModelSource;
  method: Method;
  recipe: Record<string, unknown>;
}

const BARS = 12;
/** Epochs above which a run mostly repeats itself. */
const MANY_EPOCHS = 20;

/** Rows as the model sees them, once opened. @param as null: there is no model yet, or the recipe has an error */
export function seenRows(
  app: App,
  source: DataSource,
  as: () => SeenAs | null,
  signal: AbortSignal,
): HTMLDetailsElement {
  const body = h("div", { class: "seen" });
  const element = h("details", { class: "more" }, h("summary", {}, "As the model sees them"), body);
  const again = h("button", { type: "button", class: "secondary small" }, "Look again");
  const look = async () => {
    const chosen = as();
    if (!chosen) return fill(body, h("p", { class: "about" }, "Choose a model, and correct the recipe."), again);
    fill(body, h("p", { class: "about", role: "status" }, "Reading rows …"));
    try {
      const seen = await app.trainer.data.see(source, chosen);
      if (!signal.aborted) fill(body, ...report(seen, chosen), again);
    } catch (error) {
      if (!signal.aborted) fill(body, h("p", { class: "wrong", role: "alert" }, problemOf(error).text), again);
    }
  };
  again.addEventListener("click", () => void look());
  element.addEventListener("toggle", () => {
    if (element.open && body.childElementCount === 0) void look();
  });
  return element;
}

function report(seen: SeenRows, as: SeenAs): Child[] {
  const { lengths, cut, empty, bad, counted: count, all } = seen;
  const max = limitOf(as);
  const of = `of ${all ? "" : "the first "}${formatCount(count)}`;
  const facts = [
    lengths.length > 0 &&
      `${formatCount(quantile(lengths, 0.5))} tokens in the middle, ${formatCount(lengths.at(-1)!)} at most`,
    cut > 0 &&
      `${counted(cut, "row")} ${of} longer than ${limitName(as)} ${formatCount(max!)}: ${as.method === "grpo" ? "left out" : "cut"}`,
    empty > 0 && `${counted(empty, "row")} with nothing to learn`,
    bad > 0 && `${counted(bad, "row")} that a run would refuse`,
    epochsOf(as, all ? count : null),
  ].filter((text) => text !== false && text !== null);
  return [
    h("ul", { class: "notes" }, ...facts.map((text) => h("li", {}, text))),
    lengths.length > 0 && histogram(lengths, max),
    h("ol", { class: "seen-rows" }, ...seen.rows.map(row)),
  ];
}

/** Bars of lengths. Those beyond the limit are marked. */
function histogram(lengths: readonly number[], max: number | null): HTMLElement {
  const bars = bins(lengths, BARS);
  const most = Math.max(...bars.map(({ count }) => count));
  return h(
    "figure",
    { class: "lengths" },
    h("figcaption", {}, `Rows by tokens${max === null ? "" : `; the limit is ${formatCount(max)}`}`),
    h(
      "ul",
      {},
      ...bars.map(({ from, to, count }) => {
        const bar = h("i");
        bar.style.width = `${(100 * count) / most}%`;
        return h(
          "li",
          { class: max !== null && to - 1 > max ? "over" : null },
          h("span", {}, to - from === 1 ? formatCount(from) : `${formatCount(from)}–${formatCount(to - 1)}`),
          h("span", { class: "track", "aria-hidden": "true" }, bar),
          h("b", {}, formatCount(count)),
        );
      }),
    ),
  );
}

const WORDS = { prompt: "read", target: "learnt", rejected: "the worse answer", cut: "cut off" } as const;

function row({ number, parts, tokens, problem }: SeenRows["rows"][number]): HTMLElement {
  if (problem !== null) return h("li", { class: "wrong" }, `Row ${number}: ${problem}`);
  const kinds = [...new Set(parts.map(({ kind }) => kind))].map((kind) => WORDS[kind]);
  return h(
    "li",
    {},
    h("p", { class: "about" }, `Row ${number}: ${counted(tokens, "token")}; ${kinds.join(", ")}`),
    h(
      "p",
      { class: "text", tabindex: "0" },
      ...parts.map(({ kind, text }) => h("span", { class: `part-${kind}`, title: WORDS[kind] }, text)),
    ),
  );
}

const limitName = ({ method }: SeenAs) => (method === "grpo" ? "max_prompt_length" : "max_length");

/** The recipe's limit; TRL's default where it has none. */
function limitOf(as: SeenAs): number | null {
  const value = as.recipe[limitName(as)];
  if (value === undefined) return as.method === "grpo" ? null : 1024;
  return value === null ? null : Number(value);
}

/** How often a run sees each row, where that is absurd; null otherwise. @param rows null: their number is not known */
function epochsOf({ method, recipe }: SeenAs, rows: number | null): string | null {
  const number = (name: string, otherwise: number) => Number(recipe[name] ?? otherwise);
  const steps = number("max_steps", -1);
  if (rows === null || rows === 0) return null;
  const batch = number("per_device_train_batch_size", 8) * number("gradient_accumulation_steps", 1);
  const each = method === "grpo" ? batch / number("num_generations", 8) : batch;
  const epochs = steps > 0 ? (steps * each) / rows : number("num_train_epochs", method === "dpo" ? 3 : 3);
  if (epochs < MANY_EPOCHS) return null;
  return `${formatCount(Math.round(epochs))} epochs: the run sees each of ${counted(rows, "row")} that often, and will repeat them by heart`;
}
