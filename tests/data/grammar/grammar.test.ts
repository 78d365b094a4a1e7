import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { ReplyShape } from "../../../src/data/documents/reply.ts";
import { ACCEPT, type Automaton } from "../../../src/data/grammar/automaton.ts";
import { grammarOf } from "../../../src/data/grammar/replies.ts";
import { TokenMasks, tokenTable } from "../../../src/data/grammar/token-masks.ts";
import { loadTokenizer } from "../../../src/data/tokenizer.ts";
import { lcg } from "../../../src/text/hash.ts";

const PAIRS: ReplyShape = { kind: "pairs", fields: ["question", "answer"] };
const SHAPES: ReplyShape[] = [
  PAIRS,
  { kind: "pairs", fields: ["question", "reasoning", "answer"] },
  { kind: "marks", field: "rating", count: 4 },
  { kind: "marks", field: "supported", count: 1 },
];
const tokenizer = loadTokenizer({ tokenizerJson: readFileSync("assets/tiny/tokenizer.json", "utf8") });
const table = tokenTable(tokenizer, tokenizer.vocab_size);

/** Whether the automaton accepts exactly this text. */
function accepts({ start, edges }: Automaton, text: string): boolean {
  let state = start;
  for (const byte of new TextEncoder().encode(text)) {
    state = state < 0 ? -1 : edges[256 * state + byte];
  }
  return state === ACCEPT;
}

describe("the grammar of replies", () => {
  it.each<[string, boolean]>([
    ['[{"question":"a","answer":"b"}]', true],
    ['[ { "question" : "a" , "answer" : "b" } , {"question": "c", "answer": "d"} ]', true],
    ['[\n  {\n    "question": "a \\" \\u00e9 é 日 😀",\n    "answer": "b"\n  }\n]', true],
    ["[]", false],
    ['[{"question":"","answer":"b"}]', false],
    ['[{"question":" a","answer":"b"}]', false],
    ['[{"answer":"b","question":"a"}]', false],
    ['[{"question":"a","answer":"b"},]', false],
    ['[{"question":"a\nb","answer":"b"}]', false],
    ['[{"question":"\\ud800","answer":"b"}]', false],
    ['[{"question":"\\x","answer":"b"}]', false],
    ['{"question":"a","answer":"b"}', false],
  ])("pairs: %s → %s", (text, good) => {
    expect(accepts(grammarOf(PAIRS)!, text)).toBe(good);
  });

  it("marks: one for each pair, in order, from 1 to 10", () => {
    const grammar = grammarOf({ kind: "marks", field: "rating", count: 2 })!;
    expect(accepts(grammar, '[{"id": 1, "rating": 10}, {"id": 2, "rating": 1}]')).toBe(true);
    for (const text of [
      '[{"id":1,"rating":1}]',
      '[{"id":2,"rating":1},{"id":1,"rating":1}]',
      '[{"id":1,"rating":0},{"id":2,"rating":1}]',
      '[{"id":1,"rating":11},{"id":2,"rating":1}]',
    ]) {
      expect(accepts(grammar, text)).toBe(false);
    }
    expect(grammarOf({ kind: "text" })).toBeNull();
  });

  it.each(SHAPES.map((shape) => [JSON.stringify(shape), shape] as const))(
    "bytes outside UTF-8 are never allowed: %s",
    (_, shape) => {
      const { edges, states, distance } = grammarOf(shape)!;
      expect(
        Array.from(distance.subarray(0, states)).filter(
          (d, s) => d === 0x7fffffff && reachable(grammarOf(shape)!).has(s),
        ),
      ).toEqual([]);
      for (const state of reachable(grammarOf(shape)!)) {
        for (const byte of [0xc0, 0xc1, 0xf5, 0xff, 0x00, 0x0d]) expect(edges[256 * state + byte]).toBe(-1);
      }
    },
  );
});

function reachable({ start, edges }: Automaton): Set<number> {
  const found = new Set([start]);
  for (const state of found)
    for (let b = 0; b < 256; b++) if (edges[256 * state + b] >= 0) found.add(edges[256 * state + b]);
  return found;
}

describe("token masks", () => {
  it("allow the tokens whose bytes the automaton takes, and no other", () => {
    const grammar = grammarOf(PAIRS)!;
    const masks = new TokenMasks(table, grammar, [629]);
    for (const state of reachable(grammar)) {
      const mask = masks.allowed(state, 1000);
      const wanted = new Uint32Array(table.words);
      for (let id = 0; id < tokenizer.vocab_size; id++) {
        let at = state;
        const bytes = tokenizer.tokenBytes(id);
        for (const byte of bytes ?? []) at = at < 0 ? -1 : grammar.edges[256 * at + byte];
        const good = state === ACCEPT ? id === 629 : bytes !== null && at >= 0;
        if (good) wanted[id >>> 5] |= 1 << (id & 31);
      }
      expect(mask).toEqual(wanted);
    }
  });

  it.each(SHAPES.map((shape) => [JSON.stringify(shape), shape] as const))(
    "random draws within any limit are JSON: %s",
    (_, shape) => {
      const masks = new TokenMasks(table, grammarOf(shape)!, [629]);
      const random = lcg(7);
      for (let round = 0; round < 80; round++) {
        const limit = masks.least + (round % 40);
        let state = masks.start;
        const ids: number[] = [];
        while (ids.length < limit && state !== ACCEPT) {
          const mask = masks.allowed(state, limit - ids.length);
          const choices = Array.from({ length: tokenizer.vocab_size }, (_, id) => id).filter(
            (id) => (mask[id >>> 5] >>> (id & 31)) & 1,
          );
          expect(choices.length).toBeGreaterThan(0);
          const id = choices[(random() >>> 8) % choices.length];
          ids.push(id);
          state = masks.advance(state, tokenizer.tokenBytes(id)!);
        }
        const text = new TextDecoder("utf-8", { fatal: true }).decode(
          Uint8Array.from(ids.flatMap((id) => [...tokenizer.tokenBytes(id)!])),
        );
        const value = JSON.parse(text);
        expect(Array.isArray(value) && value.length > 0).toBe(true);
        if (shape.kind === "pairs") for (const item of value) expect(Object.keys(item)).toEqual(shape.fields);
        if (shape.kind === "marks")
          expect(value.map(({ id }: { id: number }) => id)).toEqual(
            Array.from({ length: shape.count }, (_, i) => i + 1),
          );
      }
    },
  );

  it("a token's bytes are those of its text", () => {
    for (let id = 0; id < tokenizer.vocab_size; id++) {
      const bytes = tokenizer.tokenBytes(id);
      const text = tokenizer.decode([id]);
      if (bytes !== null && !text.includes("\ufffd")) expect(new TextDecoder().decode(bytes)).toBe(text);
    }
    expect(tokenizer.tokenBytes(629)).toBeNull(); // <|im_end|>
    expect(tokenizer.tokenBytes(100_000)).toBeNull();
  });
});
