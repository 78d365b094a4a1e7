import type { Preset } from "../../src/client/types.ts";
import type { App, DeviceState } from "../app.ts";
import { fill, h } from "../dom.ts";
import { EMBEDDED_PROBLEMS, embeddedJob } from "../jobs.ts";
import { missions } from "../mission/mission.ts";
import { problemLine } from "../parts/notice.ts";
import { problemOf, webgpuAdvice } from "../problems.ts";
import { begin } from "./begin.ts";

/** The heading, and the buttons that train at once. */
export function hero(app: App, signal: AbortSignal, presets: readonly Preset[]): HTMLElement {
  const said = h("div", { class: "said" });
  const button = h("button", { type: "button", class: "primary large" }, "Train the embedded model");
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await begin(app, embeddedJob(presets));
    } catch (error) {
      fill(said, problemLine("error", problemOf(error)));
      button.disabled = false;
    }
  });
  app.device.watch(signal, (state) => {
    button.disabled = state.state === "missing";
    fill(said, ...deviceSays(state));
  });
  return h(
    "section",
    { class: "hero", "aria-labelledby": "hero-title" },
    h(
      "div",
      { class: "pitch" },
      h("h1", { id: "hero-title" }, "Teach a small language model, in this tab"),
      h(
        "p",
        { class: "lead" },
        "Model, problems and training are part of the page: nothing to download, nothing to install, nothing sent away.",
      ),
      button,
      said,
      missions(app, signal, presets),
    ),
    story(),
  );
}

/** Describes what the first button does. */
function story(): HTMLElement {
  const step = (title: string, text: string) => h("li", {}, h("strong", {}, title), h("span", {}, text));
  return h(
    "div",
    { class: "story" },
    h(
      "figure",
      { class: "sample" },
      h("figcaption", {}, "One of its problems"),
      h("p", {}, "Ann has 12 apples and buys 5 more. How many apples does Ann have now?"),
      h("p", { class: "answer" }, h("span", {}, "12+5=17"), h("b", {}, "17")),
    ),
    h(
      "ol",
      { class: "steps" },
      step("Look", `The model tries ${EMBEDDED_PROBLEMS} problems that it never trains on.`),
      step("Learn the format", "Supervised fine-tuning (SFT) teaches the format of an answer."),
      step("Learn correct answers", "Reinforcement learning (GRPO) lets the model try, and rewards correct answers."),
      step("Look again", "The same problems again, side by side with the first answers."),
    ),
  );
}

/** For a browser that cannot train. */
const RECORDED = { text: "Watch a recorded run", href: "#/recorded" };

function deviceSays(state: DeviceState): HTMLElement[] {
  if (state.state === "checking") return [h("p", { class: "about" }, "Looking for the GPU …")];
  if (state.state === "missing") {
    return [problemLine("error", { text: state.problem.text, todo: webgpuAdvice(), link: RECORDED })];
  }
  const { adapter, software, advice } = state.info;
  if (!software) return [h("p", { class: "about" }, `Runs on ${adapter}.`, advice && ` ${advice}`)];
  const todo = advice ?? "The embedded model is small enough for this adapter; larger models will take very long.";
  return [
    problemLine("info", {
      text: "There is no GPU here, so training runs on the CPU: it works, but slowly.",
      todo,
      link: null,
    }),
  ];
}
