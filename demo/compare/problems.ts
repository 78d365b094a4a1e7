import type { RunRecord } from "../../src/client/types.ts";
import { seriesClass } from "../../src/report/scale.ts";
import { counted } from "../../src/text/numbers.ts";
import { fill, h } from "../dom.ts";
import { labelled, select } from "../parts/choice.ts";
import { modelText } from "../parts/model-text.ts";
import { type SharedProblem, sharedProblems } from "./facts.ts";

const SHOWN = 20;

/** Every shared held-out problem with the verdict of each run, and its answers when it is opened. */
export function problemByProblem(all: readonly RunRecord[]): HTMLElement {
  const title = h("h3", {}, "Problem by problem");
  const runs = all.filter(({ evaluations }) => evaluations.length > 0);
  if (runs.length < 2) return h("section", { hidden: true });
  const problems = sharedProblems(runs);
  if (problems.length === 0) {
    return h("section", {}, title, h("p", { class: "about" }, "These runs have no held-out problems in common."));
  }
  const filters = filtersOf(runs);
  // the interesting ones first, if there are any
  let chosen = problems.some(filters[0].test) ? filters[0].id : "all";
  let most = SHOWN;
  const list = h("ol", { class: "by-problem" });
  const more = h("button", { type: "button", class: "secondary" }, "Show more");
  more.addEventListener("click", () => {
    most += SHOWN;
    show();
  });
  const show = () => {
    const picked = problems.filter(filters.find(({ id }) => id === chosen)!.test);
    fill(list, ...picked.slice(0, most).map((problem) => item(problem, runs, all)));
    if (picked.length === 0) fill(list, h("li", { class: "about" }, "No such problems."));
    more.hidden = picked.length <= most;
  };
  const options = filters.map(({ id, text, test }) => [id, `${text} (${problems.filter(test).length})`] as const);
  const picker = select(options, chosen, (value) => {
    chosen = value;
    most = SHOWN;
    show();
  });
  show();
  return h(
    "section",
    { class: "by-problems" },
    h("div", { class: "row" }, title, h("div", { class: "pick" }, labelled("Show", picker))),
    h(
      "p",
      { class: "about" },
      `${counted(problems.length, "problem")} that ${runs.map(({ name }) => name).join(", ")} have tried.`,
    ),
    list,
    more,
  );
}

interface Filter {
  id: string;
  text: string;
  test(problem: SharedProblem): boolean;
}

function filtersOf(runs: readonly RunRecord[]): Filter[] {
  const right = ({ answers }: SharedProblem) => answers.filter(({ correct }) => correct).length;
  return [
    { id: "disagree", text: "Runs disagree", test: (one) => right(one) > 0 && right(one) < runs.length },
    ...runs.map(({ name }, i) => ({
      id: `only-${i}`,
      text: `Only ${name} is right`,
      test: (one: SharedProblem) => right(one) === 1 && one.answers[i].correct,
    })),
    { id: "none", text: "None is right", test: (one) => right(one) === 0 },
    { id: "every", text: "All are right", test: (one) => right(one) === runs.length },
    { id: "all", text: "All problems", test: () => true },
  ];
}

function item(
  { question, gold, answers }: SharedProblem,
  runs: readonly RunRecord[],
  all: readonly RunRecord[],
): HTMLElement {
  const verdicts = answers.map(({ correct }, i) =>
    h(
      "span",
      { class: `verdict ${seriesClass(all.indexOf(runs[i]))} ${correct ? "correct" : "incorrect"}` },
      h("i", { "aria-hidden": "true" }),
      h("span", { "aria-hidden": "true" }, correct ? "✓" : "✗"),
      h("span", { class: "hidden" }, `${runs[i].name}: ${correct ? "right" : "wrong"}`),
    ),
  );
  const body = h("div", { class: "answers" });
  const details = h(
    "details",
    {},
    h("summary", {}, h("span", { class: "verdicts" }, ...verdicts), h("span", { class: "question" }, question)),
    h("p", { class: "gold" }, "answer ", h("b", {}, gold)),
    body,
  );
  details.addEventListener("toggle", () => {
    if (!details.open || body.childElementCount > 0) return;
    fill(
      body,
      ...answers.map(({ completion, correct }, i) =>
        h(
          "div",
          { class: `answer ${correct ? "correct" : "incorrect"}` },
          h(
            "p",
            { class: "stage" },
            h("span", { class: "tick", "aria-hidden": "true" }, correct ? "✓" : "✗"),
            `${runs[i].name}: `,
            h("b", {}, correct ? "right" : "wrong"),
          ),
          modelText(completion),
        ),
      ),
    );
  });
  return h("li", {}, details);
}
