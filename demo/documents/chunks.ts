import type { DocumentChunk, PairSizes, PairWriter, StoredDocument } from "../../src/client/types.ts";
import { counted } from "../../src/text/numbers.ts";
import type { App } from "../app.ts";
import { fill, h } from "../dom.ts";
import { problemOf } from "../problems.ts";

const FIRST = 10;
const MORE = 50;

/** The chunks of each document, cut when its line is opened. */
interface ChunkList {
  element: HTMLElement;
  show(documents: readonly StoredDocument[], writer: PairWriter | null, sizes: PairSizes): void;
}

export function chunkList(app: App, signal: AbortSignal): ChunkList {
  const element = h("div", { class: "chunk-lists" });
  const open = new Set<string>();
  let shown = "";

  const lineOf = (one: StoredDocument, writer: PairWriter | null, sizes: PairSizes): HTMLElement => {
    const body = h("div", { class: "chunks" });
    const details = h("details", { class: "more" }, h("summary", {}, one.source), body);
    details.addEventListener("toggle", () => {
      if (details.open) open.add(one.name);
      else open.delete(one.name);
      if (details.open && !body.hasChildNodes()) void cut();
    });
    const cut = async () => {
      if (!writer) return fill(body, h("p", { class: "about" }, "Choose who writes the pairs first."));
      fill(body, h("p", { class: "about" }, "Cutting …"));
      try {
        const chunks = await app.trainer.documents.chunks(one.name, writer, sizes);
        if (!signal.aborted) fill(body, ...listOf(chunks));
      } catch (error) {
        if (!signal.aborted) fill(body, h("p", { class: "wrong", role: "alert" }, problemOf(error).text));
      }
    };
    if (open.has(one.name)) details.open = true;
    return details;
  };
  return {
    element,
    show(documents, writer, sizes) {
      // a file's content is not part of its source's name
      const key = JSON.stringify([documents.map(({ name }) => name), keyOf(writer), sizes]);
      if (key === shown) return;
      shown = key;
      fill(
        element,
        ...documents.map((one) => lineOf(one, writer, sizes)),
        documents.length === 0 && h("p", { class: "about" }, "There are no documents yet."),
      );
    },
  };
}

function keyOf(writer: PairWriter | null): unknown {
  if (writer?.kind !== "model") return writer?.kind;
  const { model } = writer;
  return model.kind === "files"
    ? [model.name, model.files.map(({ size, lastModified }) => [size, lastModified])]
    : model;
}

function listOf(chunks: readonly DocumentChunk[]): HTMLElement[] {
  const list = h("ol", { class: "chunk-list" });
  const more = h("button", { type: "button", class: "secondary small" });
  const add = (count: number) => {
    list.append(...chunks.slice(list.childElementCount, list.childElementCount + count).map(chunk));
    const left = chunks.length - list.childElementCount;
    more.hidden = left === 0;
    more.textContent = `Show ${Math.min(left, MORE)} more`;
  };
  more.addEventListener("click", () => add(MORE));
  add(FIRST);
  return [h("p", { class: "about", role: "status" }, counted(chunks.length, "chunk")), list, more];
}

function chunk({ text, tokens, pages }: DocumentChunk): HTMLElement {
  return h(
    "li",
    {},
    h("p", { class: "about" }, [counted(tokens, "token"), pagesText(pages)].filter(Boolean).join(" · ")),
    h("p", { class: "text", tabindex: "0" }, text),
  );
}

/** `page 3`, `pages 3 to 5`, or nothing. */
export function pagesText(pages: readonly number[]): string {
  const [first, last] = [pages[0], pages.at(-1)];
  if (first === undefined) return "";
  return first === last ? `page ${first}` : `pages ${first} to ${last}`;
}
