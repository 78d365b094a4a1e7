import type { Evaluation, SolvedProblem } from "../../src/client/types.ts";
import { inOrder, stageName } from "../../src/report/names.ts";
import { wilson } from "../../src/report/wilson.ts";
import { formatShare } from "../../src/text/numbers.ts";
import { type Child, fill, h } from "../dom.ts";
import type { Run } from "../run.ts";
import { labelled, select } from "./choice.ts";
import { modelText } from "./model-text.ts";
import { pictures } from "./pictures.ts";

const SHOWN = 4;

type Filter = "all" | "learnt" | "lost" | "wrong";
const FILTERS: readonly (readonly [Filter, string])[] = [
  ["all", "All problems"],
  ["learnt", "Wrong before, correct now"],
  ["lost", "Correct before, wrong now"],
  ["wrong", "Still wrong"],
];

/** Held-out problems before and after: the share of correct answers, and each problem's answers side by side. */
export function comparison(run: Run, signal: AbortSignal): HTMLElement {
  const body = h("div");
  let filter: Filter = "all";
  let most = SHOWN;
  let shown: readonly Evaluation[] = [];

  const show = () => {
    const all = inOrder(run.record.evaluations);
    if (all.length === 0) {
      const text = run.record.job.evaluate
        ? "The held-out problems have not been solved yet."
        : "This run had no held-out problems to solve.";
      return fill(body, h("p", { class: "about" }, text));
    }
    fill(body, bars(all), ...problems(all));
  };

  const problems = (all: readonly Evaluation[]): Child[] => {
    const picked = pick(all, filter);
    const of = (one: Filter) => pick(all, one).length;
    const options = FILTERS.map(([value, text]) => [value, `${text} (${of(value)})`] as const);
    const list = select(all.length > 1 ? options : options.slice(0, 1), filter, (value) => {
      filter = value as Filter;
      most = SHOWN;
      show();
      body.querySelector("select")?.focus();
    });
    const more = h(
      "button",
      { type: "button", class: "secondary" },
      `Show ${Math.min(SHOWN * 4, picked.length - most)} more`,
    );
    more.addEventListener("click", () => {
      most += SHOWN * 4;
      show();
    });
    return [
      h("div", { class: "pick" }, labelled("Show", list)),
      picked.length === 0 && h("p", { class: "about" }, "No such problems."),
      h("ol", { class: "problems" }, ...picked.slice(0, most).map((i) => problem(run, all, i))),
      picked.length > most && more,
    ];
  };

  run.watch(signal, () => {
    // a new evaluation always comes in a new list
    if (run.record.evaluations === shown && shown.length > 0) return;
    shown = run.record.evaluations;
    show();
  });
  return h(
    "section",
    { class: "comparison", "aria-labelledby": "comparison-title" },
    h("h2", { id: "comparison-title" }, "Held-out problems"),
    body,
  );
}

/** Share of correct answers, one bar per evaluation. */
function bars(all: readonly Evaluation[]): HTMLElement {
  return h(
    "ul",
    { class: "accuracies" },
    ...all.map((evaluation, i) => {
      const bar = h("i");
      bar.style.width = `${100 * evaluation.accuracy}%`;
      const right = evaluation.problems.filter(({ correct }) => correct).length;
      const { low, high } = wilson(right, evaluation.problems.length);
      return h(
        "li",
        { class: i === all.length - 1 && i > 0 ? "last" : null },
        h("span", { class: "title" }, capital(stageName(evaluation))),
        h("span", { class: "track", "aria-hidden": "true" }, bar),
        h("b", {}, formatShare(evaluation.accuracy)),
        h(
          "span",
          { class: "about", title: "95 % interval after Wilson: with so few problems, the share is only this certain" },
          `${right} of ${evaluation.problems.length} right, ${formatShare(low)} to ${formatShare(high)}`,
        ),
      );
    }),
  );
}

/** One problem with its answer at each stage. */
function problem({ record }: Run, all: readonly Evaluation[], i: number): HTMLElement {
  const { question, gold, images } = all[0].problems[i];
  return h(
    "li",
    { class: "problem" },
    pictures(record, images),
    h("p", { class: "question" }, question, h("span", { class: "gold" }, "answer ", h("b", {}, gold))),
    h(
      "div",
      { class: "answers" },
      ...all.map((evaluation) => answer(capital(stageName(evaluation)), evaluation.problems[i])),
    ),
  );
}

function answer(stage: string, { completion, correct }: SolvedProblem): HTMLElement {
  return h(
    "div",
    { class: `answer ${correct ? "correct" : "incorrect"}` },
    h(
      "p",
      { class: "stage" },
      h("span", { class: "tick", "aria-hidden": "true" }, correct ? "✓" : "✗"),
      `${stage}: `,
      h("b", {}, correct ? "right" : "wrong"),
    ),
    modelText(completion),
  );
}

/** Indices of the problems that pass a filter. All evaluations have the same problems in the same order. */
function pick(all: readonly Evaluation[], filter: Filter): number[] {
  const [first, last] = [all[0], all.at(-1)!];
  const right = (evaluation: Evaluation, i: number) => evaluation.problems[i]?.correct ?? false;
  return first.problems.flatMap((_, i) => {
    const [before, now] = [right(first, i), right(last, i)];
    const passes = { all: true, learnt: !before && now, lost: before && !now, wrong: !now }[filter];
    return passes && all.every(({ problems }) => problems[i]) ? [i] : [];
  });
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
