import type { Chunk } from "../../data/documents/chunks.ts";
import type { DocumentFormat, PageSpan } from "../../data/documents/document.ts";
import type { Pair } from "../../data/documents/pair.ts";
import type { CreateType } from "../../data/documents/prompts.ts";
import { FormatError } from "../../errors.ts";
import type { Folder } from "../../io/storage.ts";
import { parseBoundedJson } from "../../text/bounded-json.ts";
import { isObject } from "../../text/json.ts";
import { messageOf } from "../../text/show.ts";

/** A document's provenance: `output/NAME.json`, beside its text in `output/NAME.txt`. */
export interface DocumentFile {
  name: string;
  source: string;
  format: DocumentFormat;
  title: string | null;
  /** of the document's bytes */
  sha256: string;
  bytes: number;
  pages: PageSpan[];
}

/** Where a chunk comes from. */
interface Origin {
  source: string;
  chunk: string;
  pages: number[];
}

/** What was made of a chunk: `generated/NAME_0_qa_pairs.json`. */
export interface GeneratedFile extends Origin {
  type: CreateType;
  summary: string;
  qa_pairs: Pair[];
  /** replies that could not be read, kept as they came */
  unread: string[];
}

/** A pair after curation, with the reason where it was left out. */
export interface RatedPair extends Pair {
  rating: number | null;
  reason?: string;
  /** changed, dropped or kept by hand, in the page */
  edited?: boolean;
}

/** A chunk's pairs after curation: `cleaned/NAME_0_cleaned.json`. */
export interface CleanedFile extends Origin {
  summary: string;
  qa_pairs: RatedPair[];
  dropped: RatedPair[];
  metrics: { total: number; filtered: number; retention_rate: number; avg_score: number | null };
}

/** A curated file with its counts. */
export function withMetrics(file: Omit<CleanedFile, "metrics">): CleanedFile {
  const pairs = [...file.qa_pairs, ...file.dropped];
  const rated = pairs.flatMap(({ rating }) => rating ?? []);
  const metrics = {
    total: pairs.length,
    filtered: file.qa_pairs.length,
    retention_rate: pairs.length === 0 ? 0 : Number((file.qa_pairs.length / pairs.length).toFixed(4)),
    avg_score: rated.length === 0 ? null : Number((rated.reduce((a, b) => a + b, 0) / rated.length).toFixed(2)),
  };
  return { ...file, metrics };
}

const GENERATED = "_qa_pairs.json";
const CLEANED = "_cleaned.json";

/** The folder of `qwench data`: `output/`, `generated/`, `cleaned/` and `final/`, as synthetic-data-kit and Unsloth lay it out. */
export class DataFolder {
  readonly folder: Folder;

  constructor(folder: Folder) {
    this.folder = folder;
  }

  get path(): string {
    return this.folder.path;
  }

  /** All ingested documents, by name. */
  async documents(): Promise<DocumentFile[]> {
    const output = this.folder.folder("output");
    const names = (await output.list()).filter((name) => name.endsWith(".json"));
    return Promise.all(
      names.map(async (file) => {
        const name = file.slice(0, -5);
        const read = await readObject(output, file, ["source", "format", "pages"]);
        return { ...read, name } as unknown as DocumentFile;
      }),
    );
  }

  text(name: string): Promise<string> {
    return this.folder.folder("output").readText(`${name}.txt`);
  }

  async writeDocument(file: DocumentFile, text: string): Promise<void> {
    const output = this.folder.folder("output");
    await output.write(`${file.name}.txt`, text);
    await output.write(`${file.name}.json`, pretty(file));
  }

  /** Writes a document's chunks and removes those that an earlier cut left. */
  async writeChunks(name: string, chunks: readonly Chunk[], among: readonly string[]): Promise<void> {
    const output = this.folder.folder("output");
    const own = new Set(chunks.map((chunk) => `${chunk.name}.txt`));
    const documents = new Set(among);
    for (const file of await output.list()) {
      const chunk = /^(.*)_\d+\.txt$/.exec(file)?.[1] === name && !documents.has(file.slice(0, -4));
      if (chunk && !own.has(file)) await output.remove(file);
    }
    for (const chunk of chunks) await output.write(`${chunk.name}.txt`, chunk.text);
  }

  /** Removes a document with its chunks and everything that was made of them. */
  async removeDocument(name: string): Promise<void> {
    const all = await this.documents();
    const gone = all.find((file) => file.name === name);
    if (!gone) return;
    const rest = (files: readonly { source: string }[]) => files.filter(({ source }) => source !== gone.source);
    await this.writeCleaned(rest(await this.cleaned()) as CleanedFile[]);
    await this.writeGenerated(rest(await this.generated()) as GeneratedFile[]);
    const names = all.map((file) => file.name);
    await this.writeChunks(name, [], names);
    const output = this.folder.folder("output");
    for (const end of ["json", "txt"]) await output.remove(`${name}.${end}`);
  }

  generated(): Promise<GeneratedFile[]> {
    return this.#files("generated", GENERATED) as Promise<unknown> as Promise<GeneratedFile[]>;
  }

  cleaned(): Promise<CleanedFile[]> {
    return this.#files("cleaned", CLEANED) as Promise<unknown> as Promise<CleanedFile[]>;
  }

  /** Replaces the whole stage: files of chunks that no longer exist go. */
  async writeGenerated(files: readonly GeneratedFile[]): Promise<void> {
    await this.#replace("generated", GENERATED, files);
  }

  async writeCleaned(files: readonly CleanedFile[]): Promise<void> {
    await this.#replace("cleaned", CLEANED, files);
  }

  async #replace(stage: string, end: string, files: readonly Origin[]): Promise<void> {
    const folder = this.folder.folder(stage);
    const own = new Set(files.map(({ chunk }) => `${chunk}${end}`));
    for (const file of files) await folder.write(`${file.chunk}${end}`, pretty(file));
    for (const name of await folder.list()) if (name.endsWith(end) && !own.has(name)) await folder.remove(name);
  }

  /** A stage's files in the order of documents and chunks. They may be edited by hand, so their pairs are checked. */
  async #files(stage: string, end: string): Promise<Record<string, unknown>[]> {
    const folder = this.folder.folder(stage);
    const names = (await folder.list()).filter((name) => name.endsWith(end));
    const order = names.map((name) => /^(.*)_(\d+)$/.exec(name.slice(0, -end.length)) ?? ["", name, "0"]);
    const sorted = names
      .map((name, i) => ({ name, stem: order[i][1], index: Number(order[i][2]) }))
      .sort((a, b) => (a.stem < b.stem ? -1 : a.stem > b.stem ? 1 : a.index - b.index));
    return Promise.all(
      sorted.map(async ({ name }) => {
        const file = await readObject(folder, name, ["qa_pairs"]);
        const pairs = file.qa_pairs;
        const good = (pair: unknown) =>
          isObject(pair) && typeof pair.question === "string" && typeof pair.answer === "string";
        const bad = Array.isArray(pairs) ? pairs.findIndex((pair) => !good(pair)) : 0;
        if (bad >= 0) {
          throw new FormatError(`${folder.path}/${name}: qa_pairs[${bad}] must be {question, answer}, both texts`);
        }
        const chunk = name.slice(0, -end.length);
        return { source: chunk, pages: [], unread: [], dropped: [], summary: "", type: "qa", ...file, chunk };
      }),
    );
  }
}

async function readObject(folder: Folder, name: string, keys: readonly string[]): Promise<Record<string, unknown>> {
  let read: unknown;
  try {
    read = parseBoundedJson(await folder.readText(name));
  } catch (error) {
    throw new FormatError(`Cannot read ${folder.path}/${name} as JSON: ${messageOf(error)}`);
  }
  const missing = isObject(read) ? keys.find((key) => !(key in (read as object))) : keys[0];
  if (missing !== undefined)
    throw new FormatError(`${folder.path}/${name} has no ${missing}: qwench data did not write it`);
  return read as Record<string, unknown>;
}

/** JSON as synthetic-data-kit writes it, with an indent of two. */
function pretty(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
