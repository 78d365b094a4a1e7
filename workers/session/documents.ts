import type {
  ChunkPairs,
  CurateRequest,
  DocumentChunk,
  DocumentTrainer,
  PairSizes,
  PairsEvent,
  PairsRequest,
  PairWriter,
  StoredDocument,
} from "../../src/client/types.ts";
import { type ChunkSizes, chunkText, fitSizes, type TokenCounter } from "../../src/data/documents/chunks.ts";
import { DATA_DEFAULTS, type DataConfig } from "../../src/data/documents/config.ts";
import type { ReadDocument } from "../../src/data/documents/document.ts";
import type { Pair } from "../../src/data/documents/pair.ts";
import { PROMPTS, SHORT_PROMPTS } from "../../src/data/documents/prompts.ts";
import { rowOf } from "../../src/data/documents/rows.ts";
import { DataError, FormatError, NotFoundError } from "../../src/errors.ts";
import type { Folder } from "../../src/io/storage.ts";
import type { Asker, AskUsage } from "../../src/session/data/ask.ts";
import {
  type CleanedFile,
  DataFolder,
  type DocumentFile,
  type RatedPair,
  withMetrics,
} from "../../src/session/data/folder.ts";
import { keptPairs } from "../../src/session/data/save.ts";
import { createPairs, curatePairs, type StageProgress, storeDocument } from "../../src/session/data/stages.ts";
import { show } from "../../src/text/show.ts";
import { reporting } from "./reporting.ts";

/** The reason of a pair that the user has dropped. */
const BY_HAND = "dropped by hand";
/** Models with fewer positions get the short prompts. */
const FEW_POSITIONS = 1024;
/** Tokens as a writer counts them, and its positions. */
export interface WriterTokens {
  tokens: TokenCounter;
  /** max_position_embeddings */
  positions: number;
}

/** What the desk needs from its surroundings. */
export interface DeskPlace {
  folder: Folder;
  /** removes the folder */
  clear(): Promise<void>;
  /** runs work that changes the folder; @throws {BusyError} while other such work runs */
  alone<T>(work: () => Promise<T>): Promise<T>;
  /** downloads no weights */
  tokens(writer: PairWriter): Promise<WriterTokens>;
  open(
    writer: PairWriter,
    seed: number,
    signal: AbortSignal,
    report: (event: PairsEvent) => void,
  ): Promise<{ asker: Asker; end(): void }>;
}

/** Documents and their pairs in a folder, for the page. */
export class DocumentDesk implements DocumentTrainer {
  private readonly place: DeskPlace;
  private readonly data: DataFolder;

  constructor(place: DeskPlace) {
    this.place = place;
    this.data = new DataFolder(place.folder);
  }

  async list() {
    const [documents, pairs] = await Promise.all([this.data.documents(), this.pairs()]);
    return { documents: documents.map(storedOf), pairs };
  }

  add(document: ReadDocument, file: { sha256: string; bytes: number }): Promise<StoredDocument> {
    return this.place.alone(async () => {
      const known = await this.data.documents();
      const same = known.find(({ sha256 }) => sha256 === file.sha256);
      if (same) return storedOf(same);
      // another file of the same name must not replace the earlier one
      let { source } = document;
      const taken = new Set(known.map((one) => one.source));
      for (let i = 2; taken.has(source); i++) source = document.source.replace(/(\.[a-z0-9]{1,9})?$/i, ` (${i})$1`);
      return storedOf(await storeDocument(this.data, { ...document, source }, file));
    });
  }

  remove(name?: string): Promise<void> {
    return this.place.alone(async () => {
      if (name !== undefined) await this.data.removeDocument(name);
      else await this.place.clear();
    });
  }

  async chunks(name: string, writer: PairWriter, sizes: PairSizes): Promise<DocumentChunk[]> {
    const file = (await this.data.documents()).find((one) => one.name === name);
    if (!file) throw new NotFoundError(`There is no document ${show(name)}: another tab may have removed it`);
    const { tokens, positions } = await this.place.tokens(writer);
    return chunkText(name, await this.data.text(name), file.pages, tokens, sizesOf(sizes, positions));
  }

  async *make(request: PairsRequest, { signal = forever() } = {}): AsyncGenerator<PairsEvent> {
    yield* reporting((report: (event: PairsEvent) => void) =>
      this.place.alone(async () => {
        const { writer, num_pairs, type } = request;
        const { tokens, positions } = await this.place.tokens(writer);
        const config = configOf(request, positions);
        const { asker, end } = await this.place.open(writer, config.seed, signal, report);
        try {
          const { usage } = await createPairs({
            ...{ data: this.data, asker, signal, tokens, type },
            config: { ...config, num_pairs },
            onProgress: counting(report),
          });
          // from here on, cleaned/ has what is kept, by hand or by ratings
          if ((await this.data.cleaned()).length === 0) await this.keepAll();
          report(endOf(usage));
        } finally {
          end();
        }
      }),
    );
  }

  async *curate(request: CurateRequest, { signal = forever() } = {}): AsyncGenerator<PairsEvent> {
    const { threshold, support, writer } = request;
    yield* reporting((report: (event: PairsEvent) => void) =>
      this.place.alone(async () => {
        const byHand = new Set(
          (await this.data.cleaned()).flatMap(({ chunk, dropped }) =>
            dropped.filter(({ reason }) => reason === BY_HAND).map((pair) => keyOf(chunk, pair)),
          ),
        );
        const asks = threshold !== null || support;
        const { positions } = asks ? await this.place.tokens(writer) : { positions: Number.MAX_SAFE_INTEGER };
        const config = configOf({ max_seq_length: null, max_generation_tokens: null }, positions);
        const { asker, end } = asks ? await this.place.open(writer, config.seed, signal, report) : SILENT;
        try {
          const { files, usage } = await curatePairs({
            ...{ data: this.data, asker, signal, support, rate: threshold !== null },
            config: { ...config, threshold: threshold ?? config.threshold },
            onProgress: counting(report),
          });
          if (byHand.size > 0) await this.data.writeCleaned(files.map((file) => dropAgain(file, byHand)));
          report(endOf(usage));
        } finally {
          end();
        }
      }),
    );
  }

  change(chunk: string, pair: Pair, to: { pair: Pair } | { kept: boolean }): Promise<ChunkPairs> {
    return this.place.alone(async () => {
      if ("pair" in to) checkPair(to.pair);
      const made = await this.data.generated();
      if ((await this.data.cleaned()).length === 0) await this.keepAll();
      const cleaned = await this.data.cleaned();
      const file = cleaned.find((one) => one.chunk === chunk);
      const key = keyOf(chunk, pair);
      const of = (one: RatedPair) => keyOf(chunk, one) === key;
      const found = file && [...file.qa_pairs, ...file.dropped].find(of);
      if (!file || !found) throw new NotFoundError("This pair has changed: another tab may have made pairs again");
      if ("pair" in to) {
        // a rating is of the earlier text; generated/ is what a later curation reads
        const put = (one: RatedPair) => (of(one) ? { ...one, ...to.pair, rating: null, edited: true } : one);
        for (const list of ["qa_pairs", "dropped"] as const) file[list] = file[list].map(put);
        const source = made.find((one) => one.chunk === chunk);
        if (source)
          source.qa_pairs = source.qa_pairs.map((one) =>
            keyOf(chunk, one) === key ? { ...one, ...to.pair, edited: true } : one,
          );
        await this.data.writeGenerated(made);
      } else {
        const { reason: _, ...plain } = found;
        file.qa_pairs = file.qa_pairs.filter((one) => !of(one));
        file.dropped = file.dropped.filter((one) => !of(one));
        if (to.kept) file.qa_pairs.push({ ...plain, edited: true });
        else file.dropped.push({ ...plain, reason: BY_HAND, edited: true });
      }
      await this.data.writeCleaned(cleaned.map((one) => (one === file ? withMetrics(file) : one)));
      return (await this.pairs()).find((one) => one.chunk === chunk)!;
    });
  }

  async rows(metadata: boolean): Promise<{ file: File; rows: number }> {
    const pairs = await keptPairs(this.data);
    if (pairs.length === 0) throw new DataError("There are no pairs: make some first, or keep some");
    const lines = pairs.map((pair) => `${JSON.stringify(rowOf(pair, "messages", metadata))}\n`);
    const [first, ...others] = [...new Set(pairs.map(({ source }) => source))];
    const stem = first.replace(/\.[a-z0-9]{1,9}$/i, "");
    const name = `${stem}${others.length > 0 ? ` and ${others.length} more` : ""}.jsonl`;
    return { file: new File(lines, name, { type: "application/jsonl" }), rows: pairs.length };
  }

  private async pairs(): Promise<ChunkPairs[]> {
    const [made, cleaned] = await Promise.all([this.data.generated(), this.data.cleaned()]);
    const own = new Map(cleaned.map((file) => [file.chunk, file]));
    return made.map(({ chunk, source, pages, qa_pairs, unread }) => ({
      ...{ chunk, source, pages, unread: unread.length },
      kept: own.get(chunk)?.qa_pairs ?? qa_pairs.map((pair) => ({ ...pair, rating: null })),
      dropped: own.get(chunk)?.dropped ?? [],
    }));
  }

  /** Writes cleaned/ with all pairs of generated/. */
  private async keepAll(): Promise<void> {
    const made = await this.data.generated();
    const files = made.map(({ source, chunk, pages, summary, qa_pairs }) => {
      const kept = qa_pairs.map((pair): RatedPair => ({ ...pair, rating: null }));
      return withMetrics({ source, chunk, pages, summary, qa_pairs: kept, dropped: [] });
    });
    await this.data.writeCleaned(files);
  }
}

/** For curation without questions. */
const SILENT = { asker: { identity: {}, async *ask() {} } satisfies Asker, end: () => {} };

function configOf(sizes: PairSizes, positions: number): DataConfig {
  const prompts = positions < FEW_POSITIONS ? SHORT_PROMPTS : PROMPTS;
  return { ...DATA_DEFAULTS, ...sizesOf(sizes, positions), prompts };
}

function sizesOf({ max_seq_length, max_generation_tokens }: PairSizes, positions: number): ChunkSizes {
  const fitted = fitSizes(DATA_DEFAULTS, positions);
  return {
    max_seq_length: max_seq_length ?? fitted.max_seq_length,
    max_generation_tokens: max_generation_tokens ?? fitted.max_generation_tokens,
    overlap: fitted.overlap,
  };
}

/** Sums the pairs, because a page may not see every report. */
function counting(report: (event: PairsEvent) => void): (progress: StageProgress) => void {
  let sum = 0;
  return ({ stage, done, total, pairs }) => {
    sum += pairs ?? 0;
    report({ type: "replies", stage, done, total, pairs: sum });
  };
}

const endOf = ({ asked, cached, unread }: AskUsage): PairsEvent => ({ type: "end", asked, cached, unread });
const keyOf = (chunk: string, { question, answer }: Pair) => JSON.stringify([chunk, question, answer]);
const forever = () => new AbortController().signal;

function storedOf({ name, source, format, title, pages }: DocumentFile): StoredDocument {
  const numbered = pages.filter(({ page }) => page !== null).length;
  return { name, source, format, title, pages: numbered, characters: pages.at(-1)?.end ?? 0 };
}

function checkPair({ question, answer }: Pair): void {
  if (question.trim() === "" || answer.trim() === "")
    throw new FormatError("A pair needs a question and an answer: drop it instead");
}

/** Drops the pairs that the user had dropped before curation. */
function dropAgain(file: CleanedFile, byHand: ReadonlySet<string>): CleanedFile {
  const hand = (pair: RatedPair) => byHand.has(keyOf(file.chunk, pair));
  return withMetrics({
    ...file,
    qa_pairs: file.qa_pairs.filter((pair) => !hand(pair)),
    dropped: [
      ...file.dropped.filter((pair) => !hand(pair)),
      ...[...file.qa_pairs, ...file.dropped].filter(hand).map((pair) => ({ ...pair, reason: BY_HAND, edited: true })),
    ],
  });
}
