import { describe, expect, it } from "vitest";
import { CARELESS_SHARE, embeddedRows } from "../../../src/data/sets/embedded.ts";
import { NO_WORKING } from "../../../src/data/sets/word-problems.ts";
import { goldAnswer } from "../../../src/rewards/answers.ts";
import { finalAnswer } from "../../../src/rewards/final-answer.ts";
import { softFormatReward, strictFormatReward } from "../../../src/rewards/gsm8k.ts";

const context = { step: 0, completion_ids: null, signal: new AbortController().signal };

describe("the embedded model's rows", () => {
  it("teach a format that the GSM8K rewards accept, and guess as often as the model does", async () => {
    const rows = embeddedRows("train", 2000);
    const texts = rows.map(({ completion }) => String(completion[0].content));
    for (const reward of [strictFormatReward, softFormatReward]) {
      expect(await reward(texts, texts, {}, context)).toEqual(texts.map(() => 0.5));
    }
    const careless = texts.filter((text) => text.includes(NO_WORKING)).length / texts.length;
    expect(Math.abs(careless - CARELESS_SHARE)).toBeLessThan(0.04);
  });

  it("hold out problems that occur in no training row", () => {
    const asked = (rows: { prompt: { content?: unknown }[] }[]) => rows.map(({ prompt }) => prompt[0].content);
    const held = embeddedRows("test");
    expect(held).toHaveLength(200);
    expect(new Set(asked(held)).size).toBeGreaterThan(195);
    const trained = new Set(asked(embeddedRows("train", 5000)));
    expect(asked(held).filter((question) => trained.has(question))).toEqual([]);
  });

  it("contain the reference answer of the rewards", () => {
    for (const row of embeddedRows("train", 50)) expect(goldAnswer({ ...row })).toBe(finalAnswer(row.answer));
  });
});
