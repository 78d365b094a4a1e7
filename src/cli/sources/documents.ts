import { existsSync, readdirSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import { MOST_BYTES, type ReadDocument } from "../../data/documents/document.ts";
import { isDocument } from "../../data/documents/read.ts";
import { transcriptAddress, videoOf } from "../../data/documents/youtube.ts";
import { DataError, NetworkError, NotFoundError, QwenchError } from "../../errors.ts";
import { nodeFile } from "../../platform/node/fs.ts";
import { formatFileSize } from "../../text/bytes.ts";
import { messageOf } from "../../text/show.ts";
import { DocumentThread } from "./document-thread.ts";

/** A document to read: a file or an address. `source` is its name in provenance. */
interface DocumentSource {
  source: string;
  /** null: an address */
  path: string | null;
  /** the user gave it by name: its failure ends the command */
  named: boolean;
}

/** Most files of a folder. */
const MOST_FILES = 100_000;
/** Milliseconds until an address must have answered. */
const FETCH_MS = 60_000;

/**
 * The documents of a command line: files, addresses, and all documents of folders, sorted by name. Links that leave a folder are not
 * followed.
 *
 * @throws {NotFoundError} there is no such file, or a folder without documents
 */
export function documentSources(inputs: readonly string[]): DocumentSource[] {
  return inputs.flatMap((input): DocumentSource[] => {
    if (/^https?:\/\//i.test(input)) return [{ source: input, path: null, named: true }];
    if (!existsSync(input)) throw new NotFoundError(`Cannot read ${input}: there is no such file or folder`);
    if (!statSync(input).isDirectory()) return [{ source: input, path: input, named: true }];
    const found = readdirSync(input, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !entry.name.startsWith(".") && isDocument(entry.name))
      .map((entry) => join(entry.parentPath, entry.name))
      .sort();
    if (found.length === 0) {
      throw new NotFoundError(
        `Cannot read ${input}: it has no PDF, HTML, DOCX, PPTX, Markdown, text or transcript files`,
      );
    }
    if (found.length > MOST_FILES) {
      throw new DataError(
        `Cannot read ${input}: it has ${found.length} documents; at most ${MOST_FILES} are read at a time`,
      );
    }
    return found.map((path) => ({ source: relative(resolve("."), resolve(path)), path, named: false }));
  });
}

interface ReadSettings {
  article: boolean | null;
  signal: AbortSignal;
  status(line: string | null): void;
}

/**
 * Reads documents one after the other. A document of a folder that cannot be read is left out with a note.
 *
 * @param take called with each document
 * @returns the messages of those left out
 */
export async function readSources(
  sources: readonly DocumentSource[],
  { article, signal, status }: ReadSettings,
  take: (document: ReadDocument, bytes: Uint8Array) => Promise<void>,
): Promise<string[]> {
  const thread = new DocumentThread();
  const failed: string[] = [];
  const cmaps = cmapFolder();
  try {
    for (const [i, { source, path, named }] of sources.entries()) {
      signal.throwIfAborted();
      const name = `${i + 1}/${sources.length} ${source}`;
      status(name);
      try {
        const { bytes, type, address } = path === null ? await fetchDocument(source, signal) : await fileBytes(path);
        const request = { bytes: bytes.slice(), source: address ?? source, type, cmaps };
        const web = path === null && (type ?? "").includes("html");
        const read = await thread.read({ ...request, article: article ?? web }, (done, total) =>
          status(`${name}: ${Math.floor((100 * done) / Math.max(1, total))} %`),
        );
        await take({ ...read, source }, bytes);
      } catch (error) {
        if (named || !(error instanceof QwenchError) || signal.aborted) throw error;
        failed.push(messageOf(error));
      }
    }
  } finally {
    status(null);
    await thread.close();
  }
  return failed;
}

async function fileBytes(path: string): Promise<{ bytes: Uint8Array; type: null; address: null }> {
  const file = await nodeFile(path);
  if (file.size > MOST_BYTES) {
    throw new DataError(
      `Cannot read ${path}: it has ${formatFileSize(file.size)}; at most ${formatFileSize(MOST_BYTES)} are read`,
    );
  }
  return { bytes: await file.read(0, file.size), type: null, address: null };
}

/** A document from the web. For a YouTube address: the video's transcript. */
async function fetchDocument(url: string, signal: AbortSignal) {
  if (videoOf(url) === null) return fetchBytes(url, signal);
  const page = await fetchBytes(url, signal);
  const transcript = transcriptAddress(new TextDecoder().decode(page.bytes), url);
  // the ending tells the reader its format
  return { ...(await fetchBytes(transcript, signal)), address: `${url.replace(/[?#].*$/, "")}.json3` };
}

async function fetchBytes(url: string, signal: AbortSignal) {
  const fail = (why: string) => new NetworkError(`Cannot fetch ${url}: ${why}`);
  const limit = AbortSignal.any([signal, AbortSignal.timeout(FETCH_MS)]);
  try {
    const response = await fetch(url, { signal: limit, headers: { accept: "text/html,application/pdf,*/*" } });
    if (!response.ok) throw fail(`the server answers ${response.status}`);
    const parts: Uint8Array[] = [];
    let size = 0;
    for await (const part of response.body ?? []) {
      size += part.length;
      if (size > MOST_BYTES) throw fail(`it is larger than ${formatFileSize(MOST_BYTES)}`);
      parts.push(part);
    }
    const bytes = new Uint8Array(size);
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return { bytes, type: response.headers.get("content-type"), address: null as string | null };
  } catch (error) {
    if (error instanceof NetworkError || signal.aborted) throw error;
    throw fail(limit.aborted ? `no answer within ${FETCH_MS / 1000} s` : messageOf((error as Error).cause ?? error));
  }
}

/** The folder of pdf.js's character maps, if the package is installed: they are data, and no part of the program. */
function cmapFolder(): string | null {
  const require = createRequire(import.meta.url);
  const path = (name: string) => require.resolve(`pdfjs-dist/${name}`);
  try {
    return `${join(dirname(path("package.json")), "cmaps")}/`;
  } catch {
    return null;
  }
}
