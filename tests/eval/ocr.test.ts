import { describe, expect, it } from "vitest";
import {
  averagesCsv,
  characterErrors,
  charactersOf,
  detailedCsv,
  editDistance,
  ocrScores,
  rate,
  wordErrors,
  wordsOf,
} from "../../src/eval/ocr.ts";
import { integers } from "../train/fixtures.ts";

/** The distance by its definition, over prefixes, in float64: a whole table, filled from the end. */
function distance(a: readonly string[], b: readonly string[]): number {
  const table = Array.from({ length: a.length + 1 }, () => new Float64Array(b.length + 1));
  for (let i = a.length; i >= 0; i--) {
    for (let j = b.length; j >= 0; j--) {
      if (i === a.length || j === b.length) table[i][j] = a.length - i + (b.length - j);
      else if (a[i] === b[j]) table[i][j] = table[i + 1][j + 1];
      else table[i][j] = 1 + Math.min(table[i + 1][j + 1], table[i + 1][j], table[i][j + 1]);
    }
  }
  return table[0][0];
}

const ALPHABET = ["a", "b", "c", " ", "  ", "\n", "é", "日", "🙂", ".", ",", "A", "ß", "\u00a0"];

describe("word and character errors", () => {
  it("agree with the definition on 200 random pairs", () => {
    const next = integers(3);
    for (let n = 0; n < 200; n++) {
      const text = () => Array.from({ length: next(40) }, () => ALPHABET[next(ALPHABET.length)]).join("");
      const truth = text();
      const read = n % 3 === 0 ? text() : [...truth].filter(() => next(6) > 0).join("");
      const words = (of: string) => of.replace(/\s\s+/gu, " ").trim().split(" ").filter(Boolean);
      const [want, got] = [words(truth), words(read)];
      const { errors, length } = wordErrors(truth, read);
      expect(errors, JSON.stringify([truth, read])).toBe(distance(want, got));
      expect(length).toBe(want.length);
      const [chars, other] = [[...truth.trim()], [...read.trim()]];
      const made = characterErrors(truth, read);
      const expected = distance(chars, other) / Math.max(1, chars.length);
      expect(Math.abs(rate(made) - expected)).toBeLessThan(1e-9);
    }
  });

  it("are jiwer's on its own examples", () => {
    expect(rate(wordErrors("hello world", "hello duck"))).toBe(0.5);
    expect(rate(characterErrors("hello world", "hello duck"))).toBe(5 / 11);
    expect(rate(wordErrors("a b c", "a b c d e f g"))).toBe(4 / 3); // may exceed 1
    expect(editDistance([..."kitten"], [..."sitting"])).toBe(3);
  });

  it("see spaces as jiwer's transforms do: several are one between words, and count between characters", () => {
    expect(wordsOf("  a \n b\u3000 c ")).toEqual(["a", "b", "c"]);
    expect(wordsOf("a\nb")).toEqual(["a\nb"]); // one line break is no space
    expect(charactersOf(" a  b ").join("")).toBe("a  b");
    expect(rate(wordErrors("", ""))).toBe(0);
    // @see jiwer 4, tests/test_empty_ref.py
    expect(rate(wordErrors("", "hello"))).toBe(1);
    expect(rate(wordErrors(" ", "0 1 2 3"))).toBe(4);
    expect(rate(characterErrors("", "abd"))).toBe(3);
    expect(rate(characterErrors("abc", ""))).toBe(1);
    expect(rate(characterErrors("ab", ""))).toBe(1);
  });

  it("leave out case and punctuation on request", () => {
    const both = { ignore_case: true, ignore_punctuation: true };
    expect(rate(characterErrors("Total: 3 “!”", "total 3", both))).toBe(0);
    expect(rate(characterErrors("3 €", "3", both))).toBe(2 / 3); // a symbol is no punctuation
    expect(rate(characterErrors("Total: 3", "total 3"))).toBe(2 / 8);
  });
});

it("scores are means of the samples, and rates over all of them", () => {
  const records = [
    { ground_truth: "a b", generated_text: "a b" },
    { ground_truth: "one two three four", generated_text: "one two three" },
  ];
  expect(ocrScores(records)).toEqual({
    samples: 2,
    avg_wer: 1 / 8,
    avg_cer: 5 / 18 / 2,
    wer: 1 / 6,
    cer: 5 / 21,
    exact: 0.5,
  });
});

it("files have Unsloth's columns, with quotes where a text needs them", () => {
  const record = {
    sample: 1,
    wer: 0.5,
    cer: 0.25,
    ground_truth: 'a "b"',
    generated_text: "a,\nb",
    question: "read",
    finish_reason: "stop" as const,
  };
  expect(detailedCsv([record])).toBe(
    'sample,wer,cer,ground_truth,generated_text,question\n1,0.5,0.25,"a ""b""","a,\nb",read\n',
  );
  expect(averagesCsv({ avg_wer: 0.5, avg_cer: 0.25, samples: 1 })).toContain("avg_wer,0.5\navg_cer,0.25\n");
});
