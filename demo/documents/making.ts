import type { PairsEvent } from "../../src/client/types.ts";
import { counted, formatNumber } from "../../src/text/numbers.ts";
import { formatSeconds } from "../../src/text/times.ts";
import type { App } from "../app.ts";
import { fill, h } from "../dom.ts";
import { problemLine } from "../parts/notice.ts";
import { progressBar } from "../parts/progress.ts";
import { type Problem, problemOf } from "../problems.ts";

const STAGES = { create: "making pairs", curate: "rating pairs", support: "checking answers" } as const;
const ENDPOINT_ADVICE =
  "Check the address. The server must allow requests from this page (CORS), for example OLLAMA_ORIGINS in Ollama. Replies so far are kept.";

/** Work that asks a model: a bar with the pairs so far, their speed and the time left, and a button that stops it. */
interface Making {
  element: HTMLElement;
  /** @returns whether it came to its end */
  follow(open: (signal: AbortSignal) => AsyncIterable<PairsEvent>, endpoint: boolean): Promise<boolean>;
}

export function making(app: App, signal: AbortSignal): Making {
  const element = h("div", { class: "making" });

  const follow: Making["follow"] = async (open, endpoint) => {
    const control = new AbortController();
    const stop = () => control.abort();
    signal.addEventListener("abort", stop, { once: true });
    const bar = progressBar();
    const facts = h("p", { class: "about" });
    fill(element, bar.element, facts, h("button", { type: "button", class: "secondary", on: { click: stop } }, "Stop"));
    bar.set({ what: "starting", done: 0, total: null });
    const began = { at: performance.now(), done: 0, stage: "" };
    let unread = 0;
    try {
      for await (const event of open(control.signal)) {
        if (event.type === "progress") {
          const bytes = event.total === null || event.total > 10_000;
          bar.set({ ...event, what: `loading ${event.what}`, unit: bytes ? "bytes" : "" });
        } else if (event.type === "replies") {
          const { stage, done, total, pairs } = event;
          if (began.stage !== stage) Object.assign(began, { at: performance.now(), done, stage });
          bar.set({ what: STAGES[stage], done, total, unit: "replies" });
          fill(facts, ...factsOf(event, (performance.now() - began.at) / 1000, done - began.done, pairs));
        } else unread = event.unread;
      }
      const note = {
        text: `${counted(unread, "reply", "replies")} could not be read`,
        todo: "They are kept aside.",
        link: null,
      };
      fill(element, unread > 0 && problemLine("warning", note));
      return true;
    } catch (error) {
      if (control.signal.aborted) {
        fill(
          element,
          h("p", { class: "about", role: "status" }, "Stopped. Replies so far are kept: the same button continues."),
        );
      } else fill(element, problemLine("error", adviceFor(error, endpoint)));
      return false;
    } finally {
      signal.removeEventListener("abort", stop);
      app.stored.value++;
    }
  };
  return { element, follow };
}

function adviceFor(error: unknown, endpoint: boolean): Problem {
  const problem = problemOf(error);
  return endpoint && (error as Error).name === "NetworkError" ? { ...problem, todo: ENDPOINT_ADVICE } : problem;
}

/** Pairs so far, pairs a minute, and the time left. */
function factsOf(
  { stage, done, total }: { stage: string; done: number; total: number },
  seconds: number,
  answered: number,
  pairs: number,
): string[] {
  if (answered <= 0 || seconds < 1) return [];
  const left = `about ${formatSeconds(((total - done) * seconds) / answered)} left`;
  if (stage !== "create") return [left];
  return [`${counted(pairs, "pair")}, ${formatNumber(Math.round((60 * pairs) / seconds))} a minute, ${left}`];
}
