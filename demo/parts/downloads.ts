import type { ExportKind } from "../../src/client/types.ts";
import { formatFileSize } from "../../src/text/bytes.ts";
import type { App } from "../app.ts";
import { fill, h, setIdle } from "../dom.ts";
import { pushForm } from "../hub/push.ts";
import { problemOf } from "../problems.ts";
import type { Run } from "../run.ts";
import { saveFile } from "../save-file.ts";
import { labelled, select } from "./choice.ts";
import { watchKept } from "./kept-adapters.ts";
import { problemLine } from "./notice.ts";

interface Download {
  title: string;
  about: string;
  /** the kinds to choose from, the default first */
  kinds: readonly (readonly [kind: ExportKind, text: string])[];
  /** made of the run's record alone */
  ofRecord?: true;
}

const FILES: readonly Download[] = [
  {
    title: "adapter",
    about: "The PEFT adapter as a zip, with a model card, the recipes and the metrics; transformers loads it.",
    kinds: [["adapter", "PEFT"]],
  },
  {
    title: "GGUF",
    about: "For llama.cpp and Ollama: the whole model as one file, or the adapter alone.",
    kinds: [
      ["gguf", "Whole model, Q8_0"],
      ["gguf_q4_0", "Whole model, Q4_0: smallest"],
      ["gguf_f16", "Whole model, F16"],
      ["gguf_bf16", "Whole model, BF16"],
      ["gguf_lora", "Adapter alone, for --lora"],
    ],
  },
  {
    title: "merged model",
    about: "The whole model with the merged adapter, as safetensors for transformers and vLLM.",
    kinds: [
      ["merged", "16 bits"],
      ["merged_4bit", "4 bits: bitsandbytes' NF4"],
    ],
  },
  { title: "report", about: "The curves as one self-contained page.", kinds: [["report", "HTML"]], ofRecord: true },
  {
    title: "recipe",
    about: "One YAML file per phase, for qwench and for trl.",
    kinds: [["recipe", "YAML"]],
    ofRecord: true,
  },
];

/** Downloadable files of a run, and a push to the hub. */
export function downloads(app: App, run: Run, signal: AbortSignal): HTMLElement {
  const said = h("div", { role: "status" });
  const buttons: HTMLButtonElement[] = [];
  let writing = false;

  const take = async (kind: ExportKind, title: string) => {
    if (writing) return;
    writing = true;
    for (const button of buttons) setIdle(button, true);
    fill(said, h("p", { class: "about" }, `Writing: ${title} …`));
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

  const rows = FILES.map(({ title, about, kinds, ofRecord }, i) => {
    let [[kind]] = kinds;
    const button = h("button", { type: "button", class: i === 0 ? "primary" : "secondary" }, `Download ${title}`);
    button.addEventListener("click", () => void take(kind, title));
    buttons.push(button);
    const picker =
      kinds.length > 1 &&
      labelled(
        `Kind of ${title}`,
        select(kinds, kind, (value) => (kind = value as ExportKind)),
      );
    const row = h("li", {}, h("p", { class: "about" }, about), picker, button);
    return { row, ofRecord };
  });
  const nothing = h("p", { class: "about" });
  const list = h("ul", { class: "files" }, ...rows.map(({ row }) => row));
  const push = h("details", { class: "more" }, h("summary", {}, "Push to the hub"), pushForm(app, run, signal));
  let adapters = true;
  const show = () => {
    const steps = run.record.phases.some(({ global_step }) => global_step > 0);
    nothing.textContent = steps
      ? "There is no adapter of this run here: it has no checkpoint yet, or it was imported without one."
      : "Downloads are available after the first checkpoint.";
    nothing.hidden = steps && adapters;
    list.hidden = !steps;
    push.hidden = !steps || !adapters;
    for (const { row, ofRecord } of rows) row.hidden = !adapters && !ofRecord;
  };
  run.watch(signal, show);
  watchKept(app, run, signal, ({ length }) => {
    adapters = length > 0;
    show();
  });
  return h(
    "section",
    { class: "downloads", "aria-labelledby": "downloads-title" },
    h("h2", { id: "downloads-title" }, "Downloads"),
    nothing,
    list,
    push,
    said,
  );
}
