import type { StoredDocument } from "../../src/client/types.ts";
import { counted, formatCount } from "../../src/text/numbers.ts";
import { messageOf } from "../../src/text/show.ts";
import type { App } from "../app.ts";
import { fill, h } from "../dom.ts";
import { filePicker } from "../parts/choice.ts";
import { confirm } from "../parts/dialog.ts";
import { problemLine } from "../parts/notice.ts";
import { progressBar } from "../parts/progress.ts";
import { problemOf } from "../problems.ts";
import { DocumentReader } from "./reader.ts";

const ACCEPT = ".pdf,.html,.htm,.xhtml,.docx,.pptx,.md,.markdown,.txt,.text,.rst,.adoc,.vtt,.srt,.json3";

/** The documents, and a place to drop more. */
interface FilesPart {
  element: HTMLElement;
  show(documents: readonly StoredDocument[]): void;
}

/** @param changed called after documents came or went */
export function filesPart(app: App, signal: AbortSignal, changed: () => void): FilesPart {
  const reader = new DocumentReader();
  signal.addEventListener("abort", () => reader.close(), { once: true });
  const said = h("div", { class: "said" });
  const list = h("ul", { class: "stored" });
  const picker = h("div");
  let reading: Promise<void> = Promise.resolve();

  const readAll = async (files: readonly File[]) => {
    const problems: HTMLElement[] = [];
    const bar = progressBar();
    for (const [i, file] of files.entries()) {
      if (signal.aborted) return;
      const many = files.length > 1 ? ` (${i + 1} of ${files.length})` : "";
      const tell = (done: number, total: number | null) =>
        bar.set({ what: `reading ${file.name}${many}`, done, total, unit: "" });
      tell(0, null);
      fill(said, ...problems, bar.element);
      try {
        const { document, sha256, bytes } = await reader.read(file, tell);
        await app.trainer.documents.add(document, { sha256, bytes });
        for (const text of document.notes) problems.push(problemLine("info", { text, todo: null, link: null }));
      } catch (error) {
        if (signal.aborted) return;
        problems.push(problemLine("error", problemOf(error)));
      }
      changed();
    }
    fill(said, ...problems);
    app.announce(`${counted(files.length, "document")} read, ${problems.length} with remarks.`);
    app.stored.value++;
  };
  /** Files dropped meanwhile wait. */
  const take = (files: readonly File[]) => {
    reading = reading.then(() => readAll(files)).catch((error) => app.report("documents", messageOf(error)));
  };

  const zone = h(
    "div",
    { class: "drop" },
    h("p", {}, h("strong", {}, "Drop documents here")),
    h(
      "p",
      { class: "about" },
      "PDF, HTML, DOCX, PPTX, Markdown, text, or transcripts (.vtt, .srt). They stay on this machine unless an endpoint writes the pairs.",
    ),
    picker,
  );
  const over = (on: boolean) => zone.classList.toggle("over", on);
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  zone.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    over(true);
  });
  zone.addEventListener("dragleave", () => over(false));
  zone.addEventListener("drop", (event) => {
    over(false);
    if (event.defaultPrevented) return; // the button within took them
    event.preventDefault();
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length > 0) take(files);
  });

  const removeOne = async ({ name, source }: StoredDocument) => {
    if (!(await confirm(`Remove ${source}?`, "Its pairs go too. The file itself stays where it is.", "Remove"))) return;
    try {
      await app.trainer.documents.remove(name);
      app.announce(`Removed ${source}.`);
    } catch (error) {
      fill(said, problemLine("error", problemOf(error)));
    }
    changed();
    app.stored.value++;
  };

  const row = (document: StoredDocument) => {
    const { source, pages, characters, format } = document;
    const facts = [
      format.toUpperCase(),
      pages > 0 && counted(pages, format === "pptx" ? "slide" : "page"),
      `${formatCount(characters)} characters`,
    ];
    const remove = h("button", { type: "button", class: "quiet", "aria-label": `Remove ${source}` }, "Remove");
    remove.addEventListener("click", () => void removeOne(document));
    return h(
      "li",
      {},
      h("span", { class: "name" }, source),
      h("span", { class: "about" }, facts.filter(Boolean).join(" · ")),
      remove,
    );
  };
  return {
    element: h("div", { class: "picker" }, zone, said, list),
    show(documents) {
      const focused = picker.contains(document.activeElement);
      const text = documents.length > 0 ? "Choose more files …" : "Choose files …";
      fill(picker, filePicker(text, { accept: ACCEPT, multiple: true }, take));
      if (focused) picker.querySelector("input")?.focus();
      list.hidden = documents.length === 0;
      fill(list, ...documents.map(row));
    },
  };
}
