import { DataError } from "../../errors.ts";

/** The formats that Qwench reads as documents. */
export type DocumentFormat = "pdf" | "html" | "docx" | "pptx" | "txt" | "markdown" | "transcript";

/** Text of one page or slide. */
export interface DocumentPage {
  /** counted from 1; null if the format has no pages */
  page: number | null;
  text: string;
}

/** A document as clean text. */
export interface ReadDocument {
  /** file name or address, for provenance */
  source: string;
  format: DocumentFormat;
  title: string | null;
  pages: DocumentPage[];
  /** facts that the user should know, such as pages without text */
  notes: string[];
}

/** A part of a document's text that comes from one page. Offsets in UTF-16 units; the end is exclusive. */
export interface PageSpan {
  page: number | null;
  start: number;
  end: number;
}

/** Most bytes of a document. */
export const MOST_BYTES = 300_000_000;
/** Most characters of a document's text. */
export const MOST_CHARACTERS = 64_000_000;

/** Deepest nesting of elements: the parser takes time in proportion to the depth for each element. */
const MOST_DEPTH = 5000;

/** @returns the depth @throws {DataError} elements are nested too deep */
export function checkDepth(depth: number, source: string): number {
  if (depth <= MOST_DEPTH) return depth;
  throw new DataError(`Cannot read ${source}: its elements are nested deeper than ${MOST_DEPTH} levels`);
}

/** What a reader of one format needs. */
export interface ReadOptions {
  /** called while a long document is read, so that a watchdog knows that the work goes on */
  onProgress?: (done: number, total: number) => void;
  /** folder of pdfjs-dist's cmaps, for PDF files in Chinese, Japanese and Korean; null: without them */
  cmaps?: string | null;
  /** keep only a web page's article: Mozilla's Readability */
  article?: boolean;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: removes them
const CONTROLS = /[\u0000-\u0008\u000b\u000e-\u001f\u007f-\u009f\u00ad\u200b-\u200d\u2060\ufeff\ufffe\uffff]/g;

/** A chat template's marks, such as `<|im_end|>`: in a document they are text, and must not end a turn. */
const MARKS = /<\|(\w{1,40})\|>/g;

/** Text without control and invisible characters, with plain spaces, and with at most one empty line in a row. */
export function cleanText(text: string): string {
  return text
    .replace(/\r\n?|[\f\u0085\u2028\u2029]/g, "\n")
    .replace(CONTROLS, "")
    .replace(/[\u00a0\u2000-\u200a\u202f\u205f\u3000\t]/g, " ")
    .replace(MARKS, "<| $1 |>")
    .replace(/ +\n/g, "\n")
    .replace(/\n{3,}/g, "\n\n")
    .trim();
}

/** A document's whole text, and the spans of its pages. Pages are separated by an empty line. */
export function joinPages(pages: readonly DocumentPage[]): { text: string; spans: PageSpan[] } {
  const spans: PageSpan[] = [];
  const parts: string[] = [];
  let at = 0;
  for (const { page, text } of pages) {
    if (text === "") continue;
    if (parts.length > 0) at += 2;
    spans.push({ page, start: at, end: at + text.length });
    parts.push(text);
    at += text.length;
  }
  return { text: parts.join("\n\n"), spans };
}

/** Collects text and refuses more than {@link MOST_CHARACTERS}. */
export class TextSink {
  readonly #source: string;
  #parts: string[] = [];
  #length = 0;
  /** the last character added, or "" */
  last = "";

  constructor(source: string) {
    this.#source = source;
  }

  /** @throws {DataError} the document is too long */
  add(text: string): void {
    if (text === "") return;
    this.#length += text.length;
    if (this.#length > MOST_CHARACTERS) {
      throw new DataError(`Cannot read ${this.#source}: its text has more than ${MOST_CHARACTERS} characters`);
    }
    this.#parts.push(text);
    this.last = text[text.length - 1];
  }

  /** The text so far; the sink is then empty. */
  take(): string {
    const text = this.#parts.join("");
    this.#parts = [];
    this.last = "";
    return text;
  }
}
