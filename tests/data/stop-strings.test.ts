import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { StopStrings } from "../../src/data/stop-strings.ts";
import { qwenTokenizer } from "./fixtures.ts";

interface Case {
  stops: string[];
  prompt: number[];
  completion: number[];
  /** tokens up to the end of the first stop string */
  length: number | null;
}

const { cases } = JSON.parse(readFileSync(new URL("./stop-strings.json", import.meta.url), "utf8")) as {
  cases: Case[];
};
const tokenizer = qwenTokenizer();

describe("stop strings", () => {
  it("end random completions at transformers' tokens, in chunks of any size", () => {
    expect(cases.filter(({ length }) => length !== null).length).toBeGreaterThan(40);
    for (const { stops, prompt, completion, length } of cases) {
      const strings = new StopStrings(tokenizer, stops);
      for (const chunk of [1, 3, completion.length]) {
        const watch = strings.watch(prompt);
        let cut: number | null = null;
        for (let n = chunk; cut === null && n < completion.length + chunk; n += chunk) {
          cut = watch.check(completion.slice(0, n));
        }
        expect({ stops, completion, cut }).toEqual({ stops, completion, cut: length });
      }
    }
  });

  it("match by bytes: a character of several tokens, and one that begins in the prompt", () => {
    const dragon = tokenizer.encode("🫎");
    expect(dragon.length).toBeGreaterThan(1);
    const strings = new StopStrings(tokenizer, ["🫎"]);
    expect(strings.watch([0]).check([...dragon, 0])).toBe(dragon.length);
    expect(strings.watch(dragon.slice(0, -1)).check([dragon.at(-1)!, 0])).toBe(1);
    expect(strings.watch(dragon).check([0])).toBeNull(); // it ends in the prompt
  });

  it("are refused when empty", () => {
    expect(() => new StopStrings(tokenizer, ["a", ""])).toThrow("Cannot use an empty stop string");
  });

  it("bytes of all tokens together are the text", () => {
    const text = "a<|im_end|>\n 🫎 😀 e\u0301";
    const bytes = tokenizer.encode(text).flatMap((id) => [...tokenizer.bytesOf(id)]);
    expect(new TextDecoder().decode(Uint8Array.from(bytes))).toBe(tokenizer.normalize(text));
    expect(tokenizer.bytesOf(10_000_000)).toHaveLength(0);
  });
});
