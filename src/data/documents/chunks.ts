import { DataError } from "../../errors.ts";
import type { PageSpan } from "./document.ts";

/** Text to tokens and back: a model's tokenizer. */
export interface TokenCounter {
  encode(text: string): number[];
  decode(ids: ArrayLike<number>): string;
}

/** The sizes that decide about chunks, in tokens. */
export interface ChunkSizes {
  /** most tokens of prompt and reply together */
  max_seq_length: number;
  /** most tokens of one reply */
  max_generation_tokens: number;
  /** tokens that two neighbouring chunks share */
  overlap: number;
}

/** A part of a document for one prompt. */
export interface Chunk {
  /** `NAME_0`, `NAME_1` … */
  name: string;
  text: string;
  tokens: number;
  /** the pages that it comes from, in order; empty if the format has none */
  pages: number[];
}

/** Tokens that a chunk leaves for the prompt around it. */
const RESERVE = 128;

/**
 * Most tokens of a chunk: `max_seq_length − 2·max_generation_tokens − 128`, as in Unsloth's SyntheticDataKit.
 *
 * @throws {DataError} the sizes leave no room for a text
 */
export function chunkTokens({ max_seq_length, max_generation_tokens, overlap }: ChunkSizes): number {
  const most = max_seq_length - 2 * max_generation_tokens - RESERVE;
  if (most > overlap && most > 0) return most;
  throw new DataError(
    `Cannot cut chunks: max_seq_length ${max_seq_length} − 2 · max_generation_tokens ${max_generation_tokens} − ${RESERVE} = ${most} tokens, which must be more than the overlap of ${overlap}. Give a smaller max_generation_tokens or overlap`,
  );
}

/**
 * Sizes for a model: as they are, or less where it has fewer positions. Then a reply may have 3/16 of the positions, and
 * neighbouring chunks share up to a quarter of a chunk.
 *
 * @param positions max_position_embeddings
 */
export function fitSizes(sizes: ChunkSizes, positions: number): ChunkSizes {
  if (sizes.max_seq_length <= positions) return sizes;
  const max_generation_tokens = Math.min(sizes.max_generation_tokens, Math.floor((positions * 3) / 16));
  const room = positions - 2 * max_generation_tokens - RESERVE;
  const overlap = Math.max(0, Math.min(sizes.overlap, Math.floor(room / 4)));
  return { max_seq_length: positions, max_generation_tokens, overlap };
}

/**
 * Boundaries of `n = ceil(length / (most − overlap))` chunks of nearly equal length, each beginning `overlap` tokens before the
 * end of the one before. No chunk has more than `most` tokens. (Unsloth places the same n as points, not as chunks, and so cuts
 * one chunk less, which may be too long.)
 *
 * @param length of the text in tokens
 */
export function chunkBounds(length: number, most: number, overlap: number): [start: number, end: number][] {
  if (length <= most) return length > 0 ? [[0, length]] : [];
  const n = Math.ceil(length / (most - overlap));
  const at = (i: number) => Math.ceil((i * (length - overlap)) / n);
  return Array.from({ length: n }, (_, i) => [at(i), Math.min(length, at(i + 1) + overlap)]);
}

/**
 * Cuts a document into chunks by tokens. A boundary inside a character moves back to the character's beginning.
 *
 * @param name of the document's text, without an extension
 */
export function chunkText(
  name: string,
  text: string,
  spans: readonly PageSpan[],
  tokens: TokenCounter,
  sizes: ChunkSizes,
): Chunk[] {
  const most = chunkTokens(sizes);
  const ids = tokens.encode(text);
  const whole = (at: number) => {
    // an incomplete character decodes to U+FFFD at the end
    while (at > 0 && at < ids.length && /\ufffd$/.test(tokens.decode(ids.slice(Math.max(0, at - 8), at)))) at--;
    return at;
  };
  const chunks: Chunk[] = [];
  let from = 0; // characters before the chunk, to find its pages
  for (const [start, end] of chunkBounds(ids.length, most, sizes.overlap)) {
    const own = ids.slice(whole(start), whole(end));
    const part = tokens.decode(own);
    if (part.trim() === "") continue;
    const found = text.indexOf(part, Math.max(0, from - 16));
    const first = found >= 0 ? found : Math.floor((start / ids.length) * text.length);
    const last = first + part.length;
    if (found >= 0) from = found;
    const pages = spans.filter((span) => span.page !== null && span.start < last && span.end > first);
    chunks.push({
      name: `${name}_${chunks.length}`,
      text: part,
      tokens: own.length,
      pages: pages.map(({ page }) => page!),
    });
  }
  return chunks;
}

/** Stands in for a tokenizer that is not known: a token is three characters, which is more tokens than a tokenizer makes. */
export function roughTokens(): TokenCounter {
  const texts: string[] = [];
  const ids = new Map<string, number>();
  return {
    encode: (text) =>
      (text.match(/[\s\S]{1,3}/gu) ?? []).map((piece) => {
        const id = ids.get(piece) ?? texts.push(piece) - 1;
        ids.set(piece, id);
        return id;
      }),
    decode: (list) => Array.from(list, (id) => texts[id]).join(""),
  };
}
