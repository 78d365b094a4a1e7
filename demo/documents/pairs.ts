import type { ChunkPairs, Pair, RatedPair } from "../../src/client/types.ts";
import { counted, formatNumber } from "../../src/text/numbers.ts";
import type { App } from "../app.ts";
import { fill, h, setText, uid } from "../dom.ts";
import { labelled, select } from "../parts/choice.ts";
import { problemLine } from "../parts/notice.ts";
import { problemOf } from "../problems.ts";
import { pagesText } from "./chunks.ts";

const FIRST = 20;
const MORE = 50;

type Filter = "all" | "kept" | "dropped";
interface Item {
  of: ChunkPairs;
  pair: RatedPair;
  kept: boolean;
}

/** All pairs with their origin, to edit, drop and keep by hand. */
interface PairList {
  element: HTMLElement;
  show(pairs: readonly ChunkPairs[]): void;
}

/** @param changed receives a chunk's pairs after a change by hand */
export function pairList(app: App, changed: (chunk: ChunkPairs) => void): PairList {
  const title = uid("pairs");
  let filter: Filter = "all";
  let most = FIRST;
  let all: Item[] = [];
  const drafts: Drafts = new Map();
  /** the pair whose card gets the focus when it is drawn */
  let focus: string | null = null;
  const count = h("p", { class: "about", role: "status" });
  const list = h("ol", { class: "pair-list" });
  const more = h("button", { type: "button", class: "secondary" });
  const options = [
    ["all", "All pairs"],
    ["kept", "Kept"],
    ["dropped", "Dropped"],
  ] as const;
  const show = labelled(
    "Show",
    select(options, filter, (value) => {
      filter = value as Filter;
      most = FIRST;
      draw();
    }),
  );

  const draw = () => {
    const items = all.filter(({ kept }) => filter === "all" || kept === (filter === "kept"));
    const kept = all.filter((one) => one.kept).length;
    const unread = [...new Set(all.map(({ of }) => of))].reduce((sum, of) => sum + of.unread, 0);
    const aside = unread > 0 ? ` ${counted(unread, "reply", "replies")} could not be read.` : "";
    setText(count, `${counted(kept, "pair")} kept, ${formatNumber(all.length - kept)} dropped.${aside}`);
    const change: Change = async (item, to, words) => {
      const chunk = await app.trainer.documents.change(item.of.chunk, plain(item.pair), to);
      drafts.delete(keyOf(item.of, item.pair));
      focus = keyOf(item.of, "pair" in to ? to.pair : item.pair);
      app.announce(words);
      changed(chunk);
    };
    const cards = items.slice(0, most).map((item) => ({ item, element: card(item, drafts, change) }));
    fill(list, ...cards.map(({ element }) => element));
    const next = cards.find(({ item }) => keyOf(item.of, item.pair) === focus);
    next?.element.querySelector("button")?.focus();
    focus = null;
    const left = items.length - most;
    more.hidden = left <= 0;
    setText(more, left > 0 ? `Show ${Math.min(left, MORE)} more` : "");
  };
  more.addEventListener("click", () => {
    most += MORE;
    draw();
  });
  const element = h(
    "section",
    { class: "pairs", "aria-labelledby": title },
    h("div", { class: "row" }, h("div", {}, h("h2", { id: title }, "Pairs"), count), h("div", { class: "pick" }, show)),
    list,
    more,
  );
  return {
    element,
    show(pairs) {
      all = pairs.flatMap((of) => [
        ...of.kept.map((pair) => ({ of, pair, kept: true })),
        ...of.dropped.map((pair) => ({ of, pair, kept: false })),
      ]);
      element.hidden = all.length === 0;
      draw();
    },
  };
}

const keyOf = ({ chunk }: ChunkPairs, { question, answer }: Pair) => JSON.stringify([chunk, question, answer]);

/** Texts of pairs that are being edited: they outlive a change of another pair. */
type Drafts = Map<string, Pair>;
type Change = (item: Item, to: { pair: Pair } | { kept: boolean }, words: string) => Promise<void>;

function card(item: Item, drafts: Drafts, change: Change): HTMLElement {
  const { of, pair, kept } = item;
  const key = keyOf(of, pair);
  const said = h("div", { class: "said" });
  const element = h("li", { class: kept ? "pair" : "pair dropped" });
  const act = async (to: { pair: Pair } | { kept: boolean }, words: string) => {
    try {
      await change(item, to, words);
    } catch (error) {
      fill(said, problemLine("error", problemOf(error)));
    }
  };
  const button = (text: string, handler: () => void) =>
    h(
      "button",
      { type: "button", class: "quiet", "aria-label": `${text}: ${pair.question}`, on: { click: handler } },
      text,
    );
  const rating =
    pair.rating === null || pair.reason?.startsWith("rated ") ? null : `rated ${formatNumber(pair.rating)}`;
  const about = [of.source, pagesText(of.pages), rating].filter(Boolean).join(" · ");
  const show = () =>
    fill(
      element,
      h("p", { class: "about" }, about, pair.reason && h("span", { class: "reason" }, pair.reason)),
      h("p", { class: "question text" }, pair.question),
      pair.reasoning && h("p", { class: "about text" }, pair.reasoning),
      h("p", { class: "text" }, pair.answer),
      h(
        "div",
        { class: "actions" },
        button("Edit", () => edit().focus()),
        kept
          ? button("Drop", () => void act({ kept: false }, "Dropped the pair."))
          : button("Keep", () => void act({ kept: true }, "Kept the pair.")),
      ),
      said,
    );
  const edit = () => {
    const from = drafts.get(key) ?? plain(pair);
    const area = (text: string) => h("textarea", { rows: Math.min(12, 2 + Math.floor(text.length / 80)) }, text);
    const [question, answer] = [area(from.question), area(from.answer)];
    const reasoning = from.reasoning === undefined ? null : area(from.reasoning);
    const read = (): Pair => {
      const made = { question: question.value.trim(), answer: answer.value.trim() };
      return reasoning ? { ...made, reasoning: reasoning.value.trim() } : made;
    };
    drafts.set(key, from);
    for (const one of [question, answer, reasoning]) one?.addEventListener("input", () => drafts.set(key, read()));
    const save = () => void act({ pair: read() }, "Saved the pair.");
    fill(
      element,
      h("p", { class: "about" }, about),
      labelled("Question", question),
      reasoning && labelled("Reasoning", reasoning),
      labelled("Answer", answer),
      h(
        "div",
        { class: "actions" },
        h("button", { type: "button", class: "secondary", on: { click: save } }, "Save"),
        h("button", { type: "button", class: "quiet", on: { click: leave } }, "Cancel"),
      ),
      said,
    );
    return question;
  };
  const leave = () => {
    drafts.delete(key);
    fill(said);
    show();
    element.querySelector("button")?.focus();
  };
  element.addEventListener("keydown", ({ key }) => {
    if (key === "Escape" && element.querySelector("textarea")) leave();
  });
  if (drafts.has(key)) edit();
  else show();
  return element;
}

/** A pair without its rating and reason. */
function plain({ question, answer, reasoning }: RatedPair): Pair {
  return reasoning === undefined ? { question, answer } : { question, answer, reasoning };
}
