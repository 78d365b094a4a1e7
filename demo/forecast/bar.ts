import { formatBytes } from "../../src/text/bytes.ts";
import { h, setIdle, setText } from "../dom.ts";
import { aboutSeconds, type ForecastState, verdictOf } from "./machine.ts";

/** The bar at the bottom of a narrow window: memory, time, and the start button. */
interface TrainBar {
  element: HTMLElement;
  show(state: ForecastState): void;
  /** whether the run can start */
  enable(can: boolean): void;
}

const VERDICTS = { fits: "fits", tight: "tight", large: "too large", cannot: "cannot run", unknown: "" };

/** @param start starts the run */
export function trainBar(start: () => void): TrainBar {
  const memory = h("b", {});
  const time = h("span", {});
  const button = h("button", { type: "button", class: "primary" }, "Train");
  let can = false;
  button.addEventListener("click", () => can && start());
  setIdle(button, true);
  return {
    element: h("section", { class: "train-bar", "aria-label": "Start the run" }, h("p", {}, memory, time), button),
    show(state) {
      const plan = "plan" in state ? state.plan : null;
      const peak = plan && plan.phases.length > 0 ? Math.max(...plan.phases.map((phase) => phase.memory.peak)) : null;
      const verdict = plan && state.state === "ready" ? VERDICTS[verdictOf(plan)] : "";
      const working = state.state === "working" ? "Working it out …" : "It cannot run like this";
      const waiting = state.state === "missing" ? state.text : state.state === "wrong" ? "No forecast" : working;
      setText(memory, peak === null ? waiting : [formatBytes(peak), verdict].filter(Boolean).join(", "));
      setText(time, plan?.time ? aboutSeconds(plan.time.seconds) : "");
    },
    enable(now) {
      can = now;
      setIdle(button, !now);
    },
  };
}
