import { type Chunk, type ChunkSizes, chunkText, type TokenCounter } from "../../data/documents/chunks.ts";
import type { DataConfig } from "../../data/documents/config.ts";
import { joinPages, type ReadDocument } from "../../data/documents/document.ts";
import { duplicatesOf } from "../../data/documents/duplicates.ts";
import type { Pair } from "../../data/documents/pair.ts";
import { type CreateType, fillPrompt, listPairs, PROMPT_OF, shapeOf } from "../../data/documents/prompts.ts";
import { readMarks, readPairs, readText } from "../../data/documents/reply.ts";
import { DataError } from "../../errors.ts";
import { Sha256 } from "../../io/sha256.ts";
import {
  type Answered,
  type AskContext,
  type Asker,
  type AskUsage,
  askAll,
  noUsage,
  type Question,
  ReplyStore,
} from "./ask.ts";
import {
  type CleanedFile,
  type DataFolder,
  type DocumentFile,
  type GeneratedFile,
  type RatedPair,
  withMetrics,
} from "./folder.ts";

/** Progress of a stage in replies; `pairs` in the newest reply, or null where none is new. */
export interface StageProgress {
  stage: "create" | "curate" | "support";
  done: number;
  total: number;
  pairs: number | null;
}

/** What the stages that ask a model need. */
interface StageContext {
  data: DataFolder;
  asker: Asker;
  config: DataConfig;
  signal: AbortSignal;
  onProgress?: (progress: StageProgress) => void;
}

/**
 * Writes a document's clean text and its provenance to `output/`. The same source keeps its name; another source of the same
 * name gets `NAME-2`.
 */
export function ingestDocument(data: DataFolder, read: ReadDocument, bytes: Uint8Array): Promise<DocumentFile> {
  return storeDocument(data, read, { sha256: new Sha256().update(bytes).hex(), bytes: bytes.length });
}

/** {@link ingestDocument} where the bytes are elsewhere. @param of hash and length of the document's bytes */
export async function storeDocument(
  data: DataFolder,
  read: ReadDocument,
  of: Pick<DocumentFile, "sha256" | "bytes">,
): Promise<DocumentFile> {
  const { source, format, title } = read;
  const { text, spans } = joinPages(read.pages);
  const taken = new Map((await data.documents()).map((file) => [file.name, file.source]));
  const stem = stemOf(source);
  let name = stem;
  for (let i = 2; taken.has(name) && taken.get(name) !== source; i++) name = `${stem}-${i}`;
  const file = { name, source, format, title, sha256: of.sha256, bytes: of.bytes, pages: spans };
  await data.writeDocument(file, text);
  return file;
}

/** A file name from a source: its last part without the extension, of letters, digits, dots and dashes. */
function stemOf(source: string): string {
  const last = source
    .replace(/[?#].*$/, "")
    .split(/[\\/]/)
    .filter(Boolean)
    .at(-1);
  const stem = (last ?? "")
    .replace(/\.[a-z0-9]{1,9}$/i, "")
    .normalize("NFKC")
    .replace(/[^\p{L}\p{N}.-]+/gu, "-")
    .replace(/^[.-]+|[.-]+$/g, "")
    .slice(0, 80);
  return stem === "" ? "document" : stem;
}

/**
 * Cuts all ingested documents, and writes their chunks to `output/NAME_0.txt …`.
 *
 * @throws {DataError} no document was ingested, or the sizes leave no room
 */
export async function chunkDocuments(
  data: DataFolder,
  tokens: TokenCounter,
  sizes: ChunkSizes,
): Promise<{ file: DocumentFile; chunks: Chunk[] }[]> {
  const files = await data.documents();
  if (files.length === 0)
    throw new DataError(`Cannot cut chunks: ${data.path}/output has no documents; ingest some first`);
  const names = files.map(({ name }) => name);
  const all = [];
  for (const file of files) {
    const chunks = chunkText(file.name, await data.text(file.name), file.pages, tokens, sizes);
    await data.writeChunks(file.name, chunks, names);
    all.push({ file, chunks });
  }
  return all;
}

/** Makes pairs or summaries of all chunks, and writes them to `generated/`. */
export async function createPairs(
  context: StageContext & { tokens: TokenCounter; type: CreateType },
): Promise<{ files: GeneratedFile[]; usage: AskUsage }> {
  const { data, config, type, tokens, onProgress } = context;
  const parts = (await chunkDocuments(data, tokens, config)).flatMap(({ file, chunks }) =>
    chunks.map((chunk) => ({ file, chunk })),
  );
  const template = config.prompts[PROMPT_OF[type]];
  const shape = shapeOf(type);
  const questions = parts.map(
    ({ chunk }): Question => ({
      prompt: fillPrompt(template, { text: chunk.text, num_pairs: config.num_pairs }),
      shape,
      max_tokens: config.max_generation_tokens,
      temperature: config.temperature,
      top_p: config.top_p,
    }),
  );
  const asking = await contextOf(context, (done, total, reply) => {
    const pairs = reply === null ? null : shape.kind === "pairs" ? readPairs(reply, shape.fields).length : 1;
    onProgress?.({ stage: "create", done, total, pairs });
  });
  const answers: Answered<Pair[] | string>[] =
    shape.kind === "pairs"
      ? await askAll(questions, asking, (reply) => {
          const pairs = readPairs(reply, shape.fields).slice(0, config.num_pairs);
          // an empty list says that the text has nothing to ask
          return pairs.length > 0 || /^[^[{]*\[\s*\][^[{]*$/.test(reply) ? pairs : null;
        })
      : await askAll(questions, asking, readText);
  const files = parts.map(({ file, chunk }, i): GeneratedFile => {
    const { value, unread } = answers[i];
    const summary = typeof value === "string" ? value : "";
    const qa_pairs = typeof value === "string" ? [summaryPair(chunk.text, value)] : (value ?? []);
    return { type, source: file.source, chunk: chunk.name, pages: chunk.pages, summary, qa_pairs, unread };
  });
  // pairs that were curated are no longer these pairs
  const before = await data.generated();
  if (JSON.stringify(before.map(pairsIn)) !== JSON.stringify(files.map(pairsIn))) await data.writeCleaned([]);
  await data.writeGenerated(files);
  return { files, usage: asking.usage };
}

const pairsIn = ({ chunk, qa_pairs }: GeneratedFile) => [chunk, qa_pairs];
const summaryPair = (text: string, answer: string): Pair => ({ question: `Summarize this text:\n\n${text}`, answer });

async function contextOf(
  { data, asker, signal }: StageContext,
  onReply: NonNullable<AskContext["onReply"]>,
): Promise<AskContext> {
  return { asker, store: await ReplyStore.open(data.folder), signal, usage: noUsage(), onReply };
}

/** Options of {@link curatePairs}. */
interface CurateOptions {
  /** ask whether each answer is supported by its chunk, and leave out those that are not */
  support: boolean;
  /** do not ask for ratings; duplicates still go */
  rate: boolean;
}

/**
 * Rates all pairs in batches, and leaves out those below the threshold, near-duplicates, and (on request) answers that their chunk
 * does not support. Writes `cleaned/`, where every pair that was left out has its reason.
 */
export async function curatePairs(
  context: StageContext & CurateOptions,
): Promise<{ files: CleanedFile[]; usage: AskUsage }> {
  const { data, config, onProgress, support, rate } = context;
  const made = await data.generated();
  if (made.length === 0) throw new DataError(`Cannot curate: ${data.path}/generated is empty; create pairs first`);
  const pairs = made.flatMap((file) => file.qa_pairs.map((pair) => ({ file, pair })));
  const batches: { file: GeneratedFile; first: number; pairs: Pair[] }[] = [];
  let at = 0;
  for (const file of made) {
    for (let i = 0; i < file.qa_pairs.length; i += config.curate_batch_size) {
      const own = file.qa_pairs.slice(i, i + config.curate_batch_size);
      // a summary's question is its chunk: there is nothing to rate
      if (file.type !== "summary") batches.push({ file, first: at + i, pairs: own });
    }
    at += file.qa_pairs.length;
  }
  const usage = noUsage();
  const mark = async (
    field: "rating" | "supported",
    stage: "curate" | "support",
    texts: ReadonlyMap<string, string>,
  ) => {
    const asking = await contextOf(context, (done, total) => onProgress?.({ stage, done, total, pairs: null }));
    asking.usage = usage;
    return marksOf(batches, field, texts, config, asking, pairs.length);
  };
  const ratings = rate ? await mark("rating", "curate", new Map()) : [];
  const supported = support ? await mark("supported", "support", await chunkTexts(data, made)) : [];
  const reasons = pairs.map(({ file }, i): string | null => {
    if (file.type === "summary") return null;
    const rating = ratings[i];
    if (rate && rating === null) return "not rated: no reply could be read";
    if (rate && (rating as number) < config.threshold) return `rated ${rating}, below ${config.threshold}`;
    if (support && supported[i] === null) return "support not known: no reply could be read";
    return support && supported[i] === false ? "the text does not support the answer" : null;
  });
  const left = pairs.flatMap((_, i) => (reasons[i] === null ? [i] : []));
  for (const [k, other] of duplicatesOf(left.map((i) => pairs[i].pair)).entries()) {
    if (other !== null) reasons[left[k]] = `duplicate of "${pairs[left[other]].pair.question.slice(0, 200)}"`;
  }
  let next = 0;
  const files = made.map((file): CleanedFile => {
    const own = file.qa_pairs.map((pair): RatedPair => {
      const [reason, rating] = [reasons[next], (ratings[next] as number | undefined) ?? null];
      next++;
      return reason === null ? { ...pair, rating } : { ...pair, rating, reason };
    });
    return cleanedOf(file, own);
  });
  await data.writeCleaned(files);
  return { files, usage };
}

function cleanedOf({ source, chunk, pages, summary }: GeneratedFile, pairs: readonly RatedPair[]): CleanedFile {
  const qa_pairs = pairs.filter(({ reason }) => reason === undefined);
  const dropped = pairs.filter(({ reason }) => reason !== undefined);
  return withMetrics({ source, chunk, pages, summary, qa_pairs, dropped });
}

/** The chunks' own texts, for the question whether an answer is supported. */
async function chunkTexts(data: DataFolder, files: readonly GeneratedFile[]): Promise<Map<string, string>> {
  const texts = await Promise.all(files.map(async ({ chunk }) => [chunk, await data.text(chunk)] as const));
  return new Map(texts);
}

async function marksOf(
  batches: readonly { file: GeneratedFile; first: number; pairs: Pair[] }[],
  field: "rating" | "supported",
  texts: ReadonlyMap<string, string>,
  config: DataConfig,
  asking: AskContext,
  total: number,
): Promise<(number | boolean | null)[]> {
  const template = field === "rating" ? config.prompts.qa_rating : config.prompts.qa_support;
  const questions = batches.map(({ file, pairs }): Question => {
    const values = { pairs: listPairs(pairs), count: pairs.length };
    const text = texts.get(file.chunk);
    return {
      prompt: fillPrompt(template, text === undefined ? values : { ...values, text }),
      shape: { kind: "marks", field, count: pairs.length },
      max_tokens: config.max_generation_tokens,
      temperature: config.curate_temperature,
      top_p: config.top_p,
    };
  });
  const marks = new Array<number | boolean | null>(total).fill(null);
  // a second reply may mark what the first one left out
  await askAll(questions, asking, (reply, b, last) => {
    const { first, pairs } = batches[b];
    for (const [i, mark] of readMarks(reply, field, pairs.length).entries()) marks[first + i] ??= mark;
    const whole = pairs.every((_, i) => marks[first + i] !== null);
    return whole || (last && pairs.some((_, i) => marks[first + i] !== null)) ? true : null;
  });
  return marks;
}
