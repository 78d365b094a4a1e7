import type { App } from "../app.ts";
import { fill, h, setIdle } from "../dom.ts";
import { labelled } from "../parts/choice.ts";
import { problemLine } from "../parts/notice.ts";
import { DEFAULT_JUDGE, judgeKey, setJudgeKey } from "./judge-key.ts";
import type { RewardValues } from "./values.ts";

/** The judge's endpoint, model, prompt and key, and a trial of them on the first row. */
export function judgePart(app: App, values: RewardValues): HTMLElement {
  const text = (name: string) => String(values.get(name) ?? "");
  const url = h("input", { type: "text", value: text("judge_url"), placeholder: DEFAULT_JUDGE, inputmode: "url" });
  const model = h("input", {
    type: "text",
    value: text("judge_model"),
    placeholder: "gpt-4o-mini",
    autocomplete: "off",
  });
  const prompt = h("textarea", {
    rows: 4,
    placeholder: "Judge how well {completion} answers {prompt}. End with a line Score: N.",
  });
  prompt.value = text("judge_prompt");
  const address = () => url.value.trim() || DEFAULT_JUDGE;
  const key = h("input", { type: "password", value: judgeKey(address()), autocomplete: "off", spellcheck: "false" });
  const tie = (control: HTMLInputElement | HTMLTextAreaElement, name: string) =>
    control.addEventListener("input", () => values.set(name, control.value.trim() || undefined));
  tie(url, "judge_url");
  tie(model, "judge_model");
  tie(prompt, "judge_prompt");
  key.addEventListener("input", () => setJudgeKey(address(), key.value.trim()));
  url.addEventListener("change", () => (key.value = judgeKey(address())));
  return h(
    "div",
    { class: "judge fields" },
    labelled(
      "Endpoint",
      url,
      "OpenAI-compatible, up to /v1. It gets the prompts and completions, and must allow this page (CORS).",
    ),
    labelled("Model that grades", model),
    labelled("Key", key, "Kept in memory until the tab closes, and sent to this endpoint only."),
    labelled(
      "Prompt",
      prompt,
      "With {prompt}, {completion}, {score_min}, {score_max} and any column such as {answer}. Empty: Qwench's own.",
    ),
    trialPart(app, values, address),
  );
}

/** A button that asks the judge about the first row's own answer, and what came of it. */
function trialPart(app: App, values: RewardValues, address: () => string): HTMLElement {
  const button = h("button", { type: "button", class: "secondary small" }, "Try it");
  const said = h("div", { class: "judge-said", role: "status" });
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    setIdle(button, true);
    fill(said, h("p", { class: "about" }, "Asking …"));
    try {
      const { askJudge } = await import("./judge-trial.ts");
      fill(said, await askJudge(app, values, address()));
    } catch (error) {
      const { judgeProblem } = await import("./judge-trial.ts");
      fill(said, problemLine("error", judgeProblem(error, address())));
    } finally {
      setIdle(button, false);
    }
  });
  const about = h("span", { class: "about" }, "One request, with the first row and its own answer.");
  return h("div", { class: "judge-try" }, h("div", { class: "actions" }, button, about), said);
}
