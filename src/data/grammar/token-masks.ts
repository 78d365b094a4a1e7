import { UnsupportedError } from "../../errors.ts";
import type { Tokenizer } from "../tokenizer.ts";
import { ACCEPT, type Automaton } from "./automaton.ts";

/** Tokens sorted by their bytes, so that a walk over all of them shares the steps of common beginnings. */
export interface TokenTable {
  /** ids in the order of their bytes */
  ids: Int32Array;
  /** bytes of all tokens, and where each token's begin; one more entry at the end */
  bytes: Uint8Array;
  starts: Int32Array;
  /** bytes that a token shares with the one before it */
  shared: Uint8Array;
  /** words of a mask */
  words: number;
}

/** Longest token that is used, in bytes. */
const LONGEST = 255;

/**
 * The bytes of a tokenizer's tokens. Special tokens are not in it.
 *
 * @param vocab_size of the model, whose embedding may have more rows than the tokenizer has tokens
 * @throws {UnsupportedError} the tokenizer is not byte-level, or has no token for some character of ASCII
 */
export function tokenTable(tokenizer: Tokenizer, vocab_size: number): TokenTable {
  const tokens: { id: number; bytes: Uint8Array }[] = [];
  const single = new Set<number>();
  for (let id = 0; id < Math.min(vocab_size, tokenizer.vocab_size); id++) {
    const bytes = tokenizer.tokenBytes(id);
    if (bytes === null || bytes.length === 0 || bytes.length > LONGEST) continue;
    tokens.push({ id, bytes });
    if (bytes.length === 1) single.add(bytes[0]);
  }
  for (let byte = 0x20; byte < 0x100; byte++) {
    if (!single.has(byte) && byte !== 0x7f && (byte < 0x80 || byte >= 0xc2) && byte < 0xf5) {
      throw new UnsupportedError(
        `Cannot restrict this model to JSON: its tokenizer has no token for the byte 0x${byte.toString(16)}`,
      );
    }
  }
  tokens.sort((a, b) => compare(a.bytes, b.bytes));
  const starts = new Int32Array(tokens.length + 1);
  for (const [i, { bytes }] of tokens.entries()) starts[i + 1] = starts[i] + bytes.length;
  const all = new Uint8Array(starts[tokens.length]);
  const shared = new Uint8Array(tokens.length);
  for (const [i, { bytes }] of tokens.entries()) {
    all.set(bytes, starts[i]);
    const before = tokens[i - 1]?.bytes ?? new Uint8Array();
    while (shared[i] < Math.min(bytes.length, before.length) && bytes[shared[i]] === before[shared[i]]) shared[i]++;
  }
  return {
    ids: Int32Array.from(tokens, ({ id }) => id),
    bytes: all,
    starts,
    shared,
    words: Math.ceil(vocab_size / 32),
  };
}

function compare(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

/**
 * Masks of the tokens that keep a text within an automaton, and let it end within the tokens that are left: a reply that is about to
 * be cut off closes its lists and texts in time. Every byte of the way out has a token, so that bytes bound tokens.
 */
export class TokenMasks {
  readonly #table: TokenTable;
  readonly #automaton: Automaton;
  readonly #ends: Uint32Array;
  /** most bytes from any state to the end: with more tokens left, the limit does not matter */
  readonly #longest: number;
  /** the state after each token of the table, by the state before it; -1: not allowed */
  readonly #after = new Map<number, Int16Array>();
  readonly #masks = new Map<number, Uint32Array>();

  /** @param eos ids that end the reply once it is complete */
  constructor(table: TokenTable, automaton: Automaton, eos: readonly number[]) {
    this.#table = table;
    this.#automaton = automaton;
    this.#ends = new Uint32Array(table.words);
    for (const id of eos) this.#ends[id >>> 5] |= 1 << (id & 31);
    this.#longest = automaton.distance.reduce((a, b) => (b < 0x7fffffff ? Math.max(a, b) : a), 0);
  }

  /** Fewest tokens that always suffice for a whole reply. */
  get least(): number {
    return this.#automaton.distance[this.#automaton.start];
  }

  /** The state after a text's tokens. @throws {UnsupportedError} the tokens are not in the grammar */
  advance(state: number, bytes: ArrayLike<number>): number {
    for (let i = 0; i < bytes.length; i++) {
      state = this.#automaton.edges[256 * state + bytes[i]];
      if (state < 0) throw new UnsupportedError("Cannot go on: a drawn token is outside the grammar");
    }
    return state;
  }

  get start(): number {
    return this.#automaton.start;
  }

  /** u32 `[words]`, a bit per token of the vocabulary. @param left tokens that may still be drawn, at least 1 */
  allowed(state: number, left: number): Uint32Array {
    if (state === ACCEPT) return this.#ends;
    const limit = Math.min(left - 1, this.#longest);
    const key = state * (this.#longest + 1) + limit;
    let mask = this.#masks.get(key);
    if (!mask) {
      const { ids, words } = this.#table;
      const { distance } = this.#automaton;
      const after = this.#statesAfter(state);
      mask = new Uint32Array(words);
      for (let i = 0; i < after.length; i++) {
        if (after[i] >= 0 && distance[after[i]] <= limit) mask[ids[i] >>> 5] |= 1 << (ids[i] & 31);
      }
      this.#masks.set(key, mask);
    }
    return mask;
  }

  #statesAfter(state: number): Int16Array {
    const known = this.#after.get(state);
    if (known) return known;
    const { bytes, starts, shared } = this.#table;
    const { edges } = this.#automaton;
    const after = new Int16Array(shared.length).fill(-1);
    // states after the first bytes of the present token; `good` of its bytes are allowed
    const path = new Int16Array(LONGEST + 1);
    path[0] = state;
    let good = 0;
    for (let i = 0; i < after.length; i++) {
      const length = starts[i + 1] - starts[i];
      let at = Math.min(good, shared[i]);
      // the byte after the allowed ones is one that this token has too: it is not allowed either
      if (good < shared[i]) continue;
      while (at < length) {
        const next = edges[256 * path[at] + bytes[starts[i] + at]];
        if (next < 0) break;
        path[++at] = next;
      }
      good = at;
      if (at === length) after[i] = path[at];
    }
    this.#after.set(state, after);
    return after;
  }
}
