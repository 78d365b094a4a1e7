import { h } from "../dom.ts";
import { labelled } from "../parts/choice.ts";
import type { Run } from "../run.ts";
import { judgeKey, judgeUrl, setJudgeKey } from "./judge-key.ts";

/** Asks for the judge's key of a run that can go on, because a key does not survive a reload; nothing for other runs. */
export function judgeKeyLine(run: Run, signal: AbortSignal): HTMLElement {
  const url = judgeUrl(run.record.job);
  if (url === null) return h("div", { hidden: true });
  const key = h("input", { type: "password", value: judgeKey(url), autocomplete: "off", spellcheck: "false" });
  key.addEventListener("input", () => setJudgeKey(url, key.value.trim()));
  const field = labelled("Key of the judge", key, `Kept in memory until the tab closes, and sent to ${url} only.`);
  const element = h("div", { class: "judge-key" }, field);
  run.watch(signal, () => {
    element.hidden = run.activity !== "idle" || ["finished", "stopped"].includes(run.record.status);
  });
  return element;
}
