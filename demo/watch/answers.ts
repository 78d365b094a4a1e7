import { formatShare } from "../../src/text/numbers.ts";
import { fill, h, setText } from "../dom.ts";
import { modelText } from "../parts/model-text.ts";
import type { Run } from "../run.ts";

/** Answers that are shown, the newest first. */
const SHOWN = 6;

/** The model's answers to held-out problems while it solves them. Hidden at other times. */
export function answersNow(run: Run, signal: AbortSignal): HTMLElement {
  const count = h("p", { class: "about" });
  const list = h("ol", { class: "answers-now" });
  const element = h(
    "section",
    { class: "solving", "aria-labelledby": "solving-title", hidden: true },
    h("div", { class: "row" }, h("h2", { id: "solving-title" }, "Held-out problems, as they are answered"), count),
    list,
  );
  let shown = 0;
  run.watch(signal, () => {
    const { solving } = run;
    const some = solving?.problems.filter((problem) => problem !== undefined) ?? [];
    element.hidden = run.activity === "idle" || some.length === 0;
    if (!solving || some.length === shown) return;
    shown = some.length;
    const right = some.filter(({ correct }) => correct).length;
    setText(count, `${some.length} of ${solving.total} answered, ${right} right (${formatShare(right / some.length)})`);
    fill(
      list,
      ...solving.order
        .slice(-SHOWN)
        .reverse()
        .map((i) => {
          const { question, gold, completion, correct } = solving.problems[i]!;
          return h(
            "li",
            { class: `answer ${correct ? "correct" : "incorrect"}` },
            h("p", { class: "question" }, question),
            h(
              "p",
              { class: "stage" },
              h("span", { class: "tick", "aria-hidden": "true" }, correct ? "✓" : "✗"),
              h("b", {}, correct ? "right" : "wrong"),
              `, the answer is ${gold}`,
            ),
            modelText(completion),
          );
        }),
    );
  });
  return element;
}
