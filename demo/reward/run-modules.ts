import type { Job } from "../../src/client/types.ts";
import { h } from "../dom.ts";
import { saveFile } from "../save-file.ts";

/** The reward modules that a run keeps, each with a button that downloads it for the command line. */
export function runModules(job: Job): HTMLElement[] {
  const modules = new Map(job.phases.flatMap(({ modules = [] }) => modules).map((one) => [one.name, one.text]));
  return [...modules].map(([name, text]) => {
    const save = h("button", { type: "button", class: "secondary small" }, `Download ${name}`);
    save.addEventListener("click", () => saveFile({ name, blob: new Blob([text], { type: "text/javascript" }) }));
    return h("div", { class: "run-module" }, h("pre", { tabindex: "0" }, text), save);
  });
}
