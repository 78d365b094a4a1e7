import { DataError } from "../../errors.ts";
import { messageOf } from "../../text/show.ts";
import { cleanText, type DocumentPage, MOST_CHARACTERS, type ReadDocument, type ReadOptions } from "./document.ts";

/** Most pages of a PDF file. */
const MOST_PAGES = 20_000;

/** The part of pdf.js's text items that is used. */
interface Item {
  str: string;
  /** a, b, c, d, e, f: the last two are the position of the baseline's beginning, in points from the bottom left */
  transform: number[];
  width: number;
  height: number;
  hasEOL: boolean;
}

/**
 * The text of a PDF file, page by page, with pdf.js. Scripts, fonts and forms of the file are not run, and nothing is fetched.
 *
 * @throws {DataError} the file is encrypted or damaged
 */
export async function readPdf(bytes: Uint8Array, source: string, options: ReadOptions = {}): Promise<ReadDocument> {
  const pdfjs = await openPdfjs();
  const task = pdfjs.getDocument({
    data: bytes,
    verbosity: 0,
    isEvalSupported: false,
    enableXfa: false,
    disableFontFace: true,
    useSystemFonts: false,
    useWorkerFetch: false,
    isOffscreenCanvasSupported: false,
    ...(options.cmaps ? { cMapUrl: options.cmaps, cMapPacked: true } : {}),
  });
  try {
    const pdf = await task.promise;
    if (pdf.numPages > MOST_PAGES) {
      throw new DataError(`Cannot read ${source}: it has ${pdf.numPages} pages; at most ${MOST_PAGES} are read`);
    }
    const pages: DocumentPage[] = [];
    const [bad, empty]: number[][] = [[], []];
    let characters = 0;
    for (let number = 1; number <= pdf.numPages; number++) {
      try {
        const page = await pdf.getPage(number);
        const { items } = await page.getTextContent({ includeMarkedContent: false });
        const text = cleanText(pageText(items.flatMap((item) => ("str" in item ? [item as Item] : []))));
        page.cleanup();
        pages.push({ page: number, text });
        if (text === "") empty.push(number);
        characters += text.length;
      } catch {
        bad.push(number); // one damaged page does not spoil the others
      }
      if (characters > MOST_CHARACTERS) {
        throw new DataError(`Cannot read ${source}: its text has more than ${MOST_CHARACTERS} characters`);
      }
      options.onProgress?.(number, pdf.numPages);
    }
    if (bad.length === pdf.numPages)
      throw new DataError(`Cannot read ${source}: none of its ${bad.length} pages is readable`);
    const notes = [];
    if (bad.length > 0) notes.push(`${source}: ${listOf(bad)} cannot be read`);
    if (empty.length > 0) notes.push(`${source}: ${listOf(empty)} have no text (pictures need OCR first)`);
    const title = await titleOf(pdf);
    return { source, format: "pdf", title, pages, notes };
  } catch (error) {
    if (error instanceof DataError) throw error;
    const password = (error as Error)?.name === "PasswordException";
    throw new DataError(
      password
        ? `Cannot read ${source}: it is encrypted; remove its password first, for example with qpdf --decrypt`
        : `Cannot read ${source} as PDF: ${messageOf(error)}`,
    );
  } finally {
    await task.destroy().catch(() => {});
  }
}

/** pdf.js with its worker's code in this thread: documents are read in a thread of their own already. */
async function openPdfjs() {
  // without them, pdf.js warns that it cannot draw; only text is read here
  const globals = globalThis as Record<string, unknown>;
  const missing = ["DOMMatrix", "ImageData", "Path2D"].filter((name) => globals[name] === undefined);
  for (const name of missing) globals[name] = class {};
  try {
    globals.pdfjsWorker ??= await import("pdfjs-dist/legacy/build/pdf.worker.mjs");
    return await import("pdfjs-dist/legacy/build/pdf.mjs");
  } finally {
    if (missing.includes("ImageData")) delete globals.ImageData; // decoders of images would take it for a real one
  }
}

async function titleOf(pdf: { getMetadata(): Promise<{ info: object }> }): Promise<string | null> {
  try {
    const { Title } = (await pdf.getMetadata()).info as { Title?: unknown };
    return typeof Title === "string" ? Title.replace(/\s+/g, " ").trim().slice(0, 300) || null : null;
  } catch {
    return null;
  }
}

/**
 * Text of a page's items in the file's order: spaces where a gap is wider than a fifth of the font, a new line where the
 * baseline moves, an empty line where it moves by more than 1.8 font sizes. A word that a hyphen breaks over two lines
 * becomes one.
 */
function pageText(items: readonly Item[]): string {
  let text = "";
  let before: Item | null = null;
  for (const item of items) {
    if (item.str === "" && !item.hasEOL) continue;
    if (before !== null) text += between(before, item, text);
    text += item.str;
    if (item.str.trim() !== "" || before === null) before = item;
  }
  return text.replace(/(\p{Ll})-\n(?=\p{Ll})/gu, "$1");
}

function between(before: Item, item: Item, text: string): string {
  const size = Math.max(1, before.height, item.height, Math.hypot(item.transform[2], item.transform[3]));
  const drop = Math.abs(item.transform[5] - before.transform[5]);
  if (drop > 0.5 * size) return drop > 1.8 * size ? "\n\n" : "\n";
  const gap = item.transform[4] - (before.transform[4] + before.width);
  const spaced = / $/.test(text) || item.str.startsWith(" ");
  if (gap < -size) return spaced ? "" : " ";
  return gap > 0.15 * size && !spaced ? " " : "";
}

/** `page 3`, `pages 1, 2, 3 and 7 more`. */
function listOf(pages: readonly number[]): string {
  const more = pages.length > 5 ? ` and ${pages.length - 5} more` : "";
  return `${pages.length === 1 ? "page" : "pages"} ${pages.slice(0, 5).join(", ")}${more}`;
}
