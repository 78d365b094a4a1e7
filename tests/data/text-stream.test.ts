import { describe, expect, it } from "vitest";
import { TextStream } from "../../src/data/text-stream.ts";
import { integers } from "../train/fixtures.ts";
import { qwen3Tokenizer, qwenTokenizer } from "./fixtures.ts";

const tokenizer = qwenTokenizer();
const PARTS = [
  ..."abc the 42 \n\n\t<> END </answer>".split(" "),
  ..."é ñ ü ß 你好 世界 龍 한국어 ไทย עברית हिन्दी ə ﷽ 𠮷 𝔘 ☃ ½ ￼ \ufeff \u200b".split(" "),
  ..."😀 👩‍👩‍👧‍👦 🏳️‍🌈 🇯🇵 👍🏽 e\u0301 o\u0308\u0304 Z\u0351\u036b".split(" "),
  " ",
];
const next = integers(11);
const textOf = (parts: number) => Array.from({ length: parts }, () => PARTS[next(PARTS.length)]).join("");
/** Token ids of any kind: words, single bytes, special tokens, ids outside the vocabulary. */
const idsOf = (count: number) =>
  Array.from({ length: count }, () => [next(256), next(256), next(151_700), 151_643 + next(300)][next(4)]);
const decode = (ids: readonly number[]) => tokenizer.decode(ids, { skip_special_tokens: true });

/** All pieces of a stream, with tokens pushed in chunks of at most `most`; the last piece is the held-back text. */
function pieces(stream: TextStream, ids: readonly number[], most: number): string[] {
  const out: string[] = [];
  for (let at = 0; at < ids.length; ) {
    const count = 1 + next(most);
    out.push(stream.push(ids.slice(at, at + count)));
    at += count;
  }
  return [...out, stream.end()];
}

describe("the text of a stream", () => {
  it("has no broken character in any piece, and equals the encoded text", () => {
    let split = 0;
    for (let trial = 0; trial < 150; trial++) {
      const text = tokenizer.normalize(textOf(1 + next(12)));
      const ids = tokenizer.encode(text);
      const parts = pieces(new TextStream(tokenizer), ids, 1);
      expect(parts.join("")).toBe(text);
      for (const part of parts) expect(part).not.toMatch(/\ufffd|[\ud800-\udbff]$|^[\udc00-\udfff]/);
      split += parts.slice(0, -1).filter((part) => part === "").length;
    }
    expect(split).toBeGreaterThan(100); // some characters span several tokens
  });

  it("concatenates to decode of all tokens, for any tokens in any chunks", () => {
    for (let trial = 0; trial < 300; trial++) {
      const ids = idsOf(1 + next(30));
      const stream = new TextStream(tokenizer);
      const parts = pieces(stream, ids, 1 + next(9));
      expect(parts.join("")).toBe(decode(ids));
      expect(stream.text).toBe(decode(ids));
      expect(stream.tokens).toBe(ids.length);
    }
  });

  it("is output as soon as it is certain", () => {
    const ids = idsOf(60);
    const stream = new TextStream(tokenizer);
    ids.forEach((id, i) => {
      stream.push([id]);
      expect(stream.text).toBe(decode(ids.slice(0, i + 1)).replace(/\ufffd$/, ""));
    });
  });

  it("leaves special tokens out, and keeps added ones that are not special", () => {
    const qwen3 = qwen3Tokenizer();
    const ids = qwen3.encode("<|im_start|>a<think>\n你</think>b<|im_end|>");
    const stream = new TextStream(qwen3);
    expect(pieces(stream, ids, 1).join("")).toBe("a<think>\n你</think>b");
  });
});

/** The end of a text that stops at the first complete stop string; null if there is none. */
function cutOf(text: string, stops: readonly string[]): { text: string; stop: string } | null {
  for (let end = 1; end <= text.length; end++) {
    const found = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length)[0];
    if (found) return { text: text.slice(0, end - found.length), stop: found };
  }
  return null;
}

describe("stop strings", () => {
  it("end the text at any division into tokens and pieces", () => {
    let stopped = 0;
    for (let trial = 0; trial < 300; trial++) {
      const text = tokenizer.normalize(textOf(3 + next(20)));
      const ids = tokenizer.encode(text);
      const stops = Array.from({ length: 1 + next(3) }, () => {
        const letters = [...(next(4) ? text : textOf(5))];
        const start = next(letters.length);
        return letters.slice(start, start + 1 + next(6)).join("");
      });
      const want = cutOf(text, stops);
      const stream = new TextStream(tokenizer, stops);
      const parts = pieces(stream, ids, 1 + next(4));
      expect(parts.join("")).toBe(want?.text ?? text);
      expect(stream.stopped).toBe(want?.stop ?? null);
      if (!want) continue;
      stopped++;
      const whole = (count: number) => decode(ids.slice(0, count)).replace(/\ufffd$/, "");
      expect(cutOf(whole(stream.tokens), stops)).toEqual(want);
      expect(cutOf(whole(stream.tokens - 1), stops)).toBeNull();
    }
    expect(stopped).toBeGreaterThan(100);
  });

  it("hold back only text that may begin a stop string", () => {
    const stream = new TextStream(tokenizer, ["</answer>", "<END"]);
    const say = (text: string) => stream.push(tokenizer.encode(text));
    expect(say("42 <")).toBe("42 ");
    expect(say("b> </ans")).toBe("<b> ");
    expect(say("!")).toBe("</ans!");
    expect(say("</answer> more")).toBe("");
    expect([stream.text, stream.stopped, stream.end()]).toEqual(["42 <b> </ans!", "</answer>", ""]);
    const open = new TextStream(tokenizer, ["</answer>"]);
    expect(open.push(tokenizer.encode("so </ans")) + open.end()).toBe("so </ans");
  });

  it("of several, the first complete one counts, and of those the longest", () => {
    const stop = (stops: string[], text = "xabcdy") => {
      const stream = new TextStream(tokenizer, stops);
      stream.push(tokenizer.encode(text));
      return [stream.text, stream.stopped];
    };
    expect(stop(["abcd", "bc"])).toEqual(["xa", "bc"]);
    expect(stop(["bc", "abc", "c"])).toEqual(["x", "abc"]);
    expect(() => stop([""])).toThrow("Cannot use an empty stop string");
  });
});
