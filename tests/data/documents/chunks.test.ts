import { describe, expect, it } from "vitest";
import { chunkBounds, chunkText, chunkTokens, roughTokens } from "../../../src/data/documents/chunks.ts";

const SIZES = { max_seq_length: 2048, max_generation_tokens: 512, overlap: 64 };

describe("chunks", () => {
  it("has the sources' size", () => {
    expect(chunkTokens(SIZES)).toBe(2048 - 1024 - 128);
    expect(() => chunkTokens({ ...SIZES, max_seq_length: 1200 })).toThrow(
      "max_seq_length 1200 − 2 · max_generation_tokens 512 − 128 = 48 tokens, which must be more than the overlap of 64",
    );
  });

  it("covers every length with n = ceil(length / (most − overlap)) parts that overlap and fit", () => {
    for (const [most, overlap] of [
      [896, 64],
      [80, 8],
      [10, 0],
      [9, 8],
    ]) {
      for (const length of [1, most - 1, most, most + 1, 2 * most - overlap, 5 * most + 3, 1237]) {
        const bounds = chunkBounds(length, most, overlap);
        expect(bounds).toHaveLength(length <= most ? 1 : Math.ceil(length / (most - overlap)));
        expect(bounds[0][0]).toBe(0);
        expect(bounds.at(-1)![1]).toBe(length);
        for (const [i, [start, end]] of bounds.entries()) {
          expect(end - start).toBeLessThanOrEqual(most);
          if (i > 0) expect(bounds[i - 1][1] - start).toBe(Math.min(overlap, length - start));
        }
      }
    }
    expect(chunkBounds(0, 10, 1)).toEqual([]);
  });

  it("names chunks, and says which pages they come from", () => {
    const pages = ["a".repeat(600), "b".repeat(600), "c".repeat(600)];
    const text = pages.join("\n\n");
    const spans = pages.map((_, i) => ({ page: i + 1, start: i * 602, end: i * 602 + 600 }));
    const sizes = { max_seq_length: 128 + 40 + 220, max_generation_tokens: 20, overlap: 20 };
    const chunks = chunkText("doc", text, spans, roughTokens(), sizes);
    expect(chunks.map(({ name }) => name)).toEqual(["doc_0", "doc_1", "doc_2", "doc_3"]);
    expect(chunks.map(({ pages }) => pages)).toEqual([[1], [1, 2], [2, 3], [3]]);
    expect(chunks[0].text).toBe(text.slice(0, chunks[0].text.length));
    expect(text.endsWith(chunks.at(-1)!.text)).toBe(true);
  });

  it("does not cut a character whose bytes are several tokens", () => {
    const bytes = {
      encode: (text: string) => [...new TextEncoder().encode(text)],
      decode: (ids: ArrayLike<number>) => new TextDecoder().decode(Uint8Array.from(ids)),
    };
    const text = "日本語の本".repeat(60);
    const sizes = { max_seq_length: 128 + 20 + 101, max_generation_tokens: 10, overlap: 7 };
    const chunks = chunkText("doc", text, [], bytes, sizes);
    expect(chunks.length).toBeGreaterThan(5);
    for (const chunk of chunks) expect(chunk.text).not.toContain("\ufffd");
    for (const { text: part } of chunks) expect(text).toContain(part);
  });
});
