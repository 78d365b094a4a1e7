import { DataError } from "../../errors.ts";
import {
  cleanText,
  type DocumentFormat,
  joinPages,
  MOST_BYTES,
  MOST_CHARACTERS,
  type ReadDocument,
  type ReadOptions,
} from "./document.ts";
import { readHtml } from "./html.ts";
import { readDocx, readPptx } from "./office.ts";
import { readPdf } from "./pdf.ts";
import { readTranscript } from "./transcript.ts";

/** Formats by the end of a file's name. */
const BY_NAME: readonly (readonly [RegExp, DocumentFormat])[] = [
  [/\.pdf$/i, "pdf"],
  [/\.(x?html?|mhtml)$/i, "html"],
  [/\.docx$/i, "docx"],
  [/\.pptx$/i, "pptx"],
  [/\.(md|markdown)$/i, "markdown"],
  [/\.(vtt|srt|json3)$/i, "transcript"],
  [/\.(txt|text|rst|adoc)$/i, "txt"],
];

/** Whether Qwench reads files of this name as documents. */
export function isDocument(name: string): boolean {
  return BY_NAME.some(([pattern]) => pattern.test(name));
}

/**
 * Reads a document of any format as clean text. Its bytes decide about PDF, DOCX, PPTX and HTML; its name about the rest. The
 * parser of a format is loaded when its first document comes.
 *
 * @param source the file's name or address
 * @param type media type that a server declares, if any
 * @throws {DataError} an unknown format, a damaged file, or a document without text
 */
export async function readDocument(
  bytes: Uint8Array,
  source: string,
  options: ReadOptions & { type?: string | null } = {},
): Promise<ReadDocument> {
  if (bytes.length > MOST_BYTES) {
    throw new DataError(`Cannot read ${source}: it has ${bytes.length} bytes; at most ${MOST_BYTES} are read`);
  }
  const read = await readAs(bytes, source, options);
  if (joinPages(read.pages).text === "") {
    const scanned = read.format === "pdf" ? ": its pages are pictures, which need OCR first" : "";
    throw new DataError(`Cannot use ${source}: it has no text${scanned}`);
  }
  return read;
}

async function readAs(
  bytes: Uint8Array,
  source: string,
  options: ReadOptions & { type?: string | null },
): Promise<ReadDocument> {
  const starts = (text: string) => latin(bytes.subarray(0, text.length)) === text;
  const named = BY_NAME.find(([pattern]) => pattern.test(source.replace(/[?#].*$/, "")))?.[1];
  if (latin(bytes.subarray(0, 1024)).includes("%PDF-")) return readPdf(bytes, source, options);
  if (starts("PK\u0003\u0004") || starts("PK\u0005\u0006")) {
    const names = latin(bytes);
    if (named === "pptx" || (named !== "docx" && names.includes("ppt/presentation.xml")))
      return readPptx(bytes, source);
    if (named === "docx" || names.includes("word/document.xml")) return readDocx(bytes, source);
    throw new DataError(`Cannot read ${source}: it is a zip archive, but neither DOCX nor PPTX`);
  }
  if (starts("\u00d0\u00cf\u0011\u00e0")) {
    throw new DataError(
      `Cannot read ${source}: it is an Office file of before 2007 or encrypted; save it as DOCX or PPTX`,
    );
  }
  if (named === "pdf" || named === "docx" || named === "pptx") {
    throw new DataError(`Cannot read ${source} as ${named.toUpperCase()}: it does not begin as such a file does`);
  }
  const { text, note } = decode(bytes, source, options.type ?? null);
  const html =
    named === "html" || options.type?.includes("html") || /^\s*(<!doctype html|<html[\s>])/i.test(text.slice(0, 2000));
  const read = html
    ? await readHtml(text, source, options)
    : named === "transcript" || /^\ufeff?WEBVTT\b/.test(text)
      ? readTranscript(text, source)
      : plain(text, source, named === "markdown" ? "markdown" : "txt");
  return note ? { ...read, notes: [...read.notes, note] } : read;
}

function plain(text: string, source: string, format: "markdown" | "txt"): ReadDocument {
  if (text.length > MOST_CHARACTERS) {
    throw new DataError(`Cannot read ${source}: it has ${text.length} characters; at most ${MOST_CHARACTERS} are read`);
  }
  const title = format === "markdown" ? (/^#\s+(.{1,300})/m.exec(text)?.[1].trim() ?? null) : null;
  // a form feed separates the pages of a text for a printer
  const pages = text.split("\f").map((page) => cleanText(page));
  return {
    source,
    format,
    title,
    pages: pages.map((page, i) => ({ page: pages.length > 1 ? i + 1 : null, text: page })),
    notes: [],
  };
}

/** The first bytes as Latin-1 text. */
function latin(bytes: Uint8Array): string {
  return new TextDecoder("latin1").decode(bytes);
}

/** Text in UTF-8, UTF-16 with a byte order mark, or the charset that the document declares; else Windows-1252. */
function decode(bytes: Uint8Array, source: string, type: string | null): { text: string; note: string | null } {
  const [a, b] = bytes;
  if ((a === 0xff && b === 0xfe) || (a === 0xfe && b === 0xff)) {
    return { text: new TextDecoder(a === 0xff ? "utf-16le" : "utf-16be").decode(bytes), note: null };
  }
  const head = latin(bytes.subarray(0, 4096));
  if (head.includes("\0")) throw new DataError(`Cannot read ${source}: it is a binary file of an unknown format`);
  try {
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes), note: null };
  } catch {
    const declared =
      /charset=["']?([\w-]{2,30})/i.exec(type ?? "")?.[1] ??
      /<meta[^>]{0,200}charset=["']?([\w-]{2,30})/i.exec(head)?.[1];
    const charset = declared && !/^utf-?8$/i.test(declared) ? declared : "windows-1252";
    try {
      return {
        text: new TextDecoder(charset).decode(bytes),
        note: declared ? null : `${source} is not UTF-8: it is read as Windows-1252`,
      };
    } catch {
      return {
        text: new TextDecoder("windows-1252").decode(bytes),
        note: `${source} declares ${charset}, which is unknown: it is read as Windows-1252`,
      };
    }
  }
}
