import type { ExportKind } from "../../src/client/types.ts";
import { formatFileSize } from "../../src/text/bytes.ts";
import type { App } from "../app.ts";
import { fill, h, setIdle } from "../dom.ts";
import { problemOf } from "../problems.ts";
import type { Run } from "../run.ts";
import { saveFile } from "../save-file.ts";
import { problemLine } from "./notice.ts";

const FILES: readonly { kind: ExportKind; title: string; about: string }[] = [
  { kind: "adapter", title: "Adapter", about: "The PEFT adapter as a zip; transformers loads it." },
  { kind: "merged", title: "Merged model", about: "The whole model with the merged adapter, as safetensors." },
  { kind: "gguf", title: "GGUF", about: "The whole model as one file in Q8_0, for llama.cpp and Ollama." },
  { kind: "report", title: "Report", about: "The curves as one self-contained page." },
  { kind: "recipe", title: "Recipe", about: "YAML that TRL also reads." },
];

/** Downloadable files of a run. */
export function downloads(app: App, run: Run, signal: AbortSignal): HTMLElement {
  const said = h("div", { role: "status" });
  const buttons: HTMLButtonElement[] = [];
  let writing = false;

  const take = async (kind: ExportKind, title: string) => {
    if (writing) return;
    writing = true;
    for (const button of buttons) setIdle(button, true);
    fill(said, h("p", { class: "about" }, `Writing: ${title.toLowerCase()} …`));
    try {
      const file = await app.trainer.export(run.id, kind, { signal });
      saveFile(file);
      fill(said, h("p", { class: "right" }, `${file.name}, ${formatFileSize(file.blob.size)}, is in your downloads.`));
    } catch (error) {
      if (signal.aborted) return;
      fill(said, problemLine("error", problemOf(error)));
    }
    writing = false;
    for (const button of buttons) setIdle(button, false);
  };

  const rows = FILES.map(({ kind, title, about }, i) => {
    const button = h(
      "button",
      { type: "button", class: i === 0 ? "primary" : "secondary" },
      `Download ${title === "GGUF" ? title : title.toLowerCase()}`,
    );
    button.addEventListener("click", () => void take(kind, title));
    buttons.push(button);
    return h("li", {}, h("p", { class: "about" }, about), button);
  });
  const nothing = h("p", { class: "about" }, "Downloads are available after the first checkpoint.");
  const list = h("ul", { class: "files" }, ...rows);
  run.watch(signal, () => {
    const started = run.record.phases.some(({ global_step }) => global_step > 0);
    list.hidden = !started;
    nothing.hidden = started;
  });
  return h(
    "section",
    { class: "downloads", "aria-labelledby": "downloads-title" },
    h("h2", { id: "downloads-title" }, "Downloads"),
    nothing,
    list,
    said,
  );
}
