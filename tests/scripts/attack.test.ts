import { describe, expect, it } from "vitest";
import { drawOf } from "../../scripts/attack/mutate.ts";
import { PARSERS } from "../../scripts/attack/parser-cases.ts";
import { PAYLOADS, reportsOf } from "../../scripts/attack/payloads.ts";
import { QwenchError } from "../../src/errors.ts";

// A little of what scripts/attack does at length.

describe("damaged inputs", () => {
  it.each(Object.keys(PARSERS))("%s: taken, or refused with an error of Qwench's", async (name) => {
    const begun = performance.now();
    for (let i = 0; i < 12; i++) {
      try {
        await PARSERS[name](drawOf(77_000_001 + i));
      } catch (error) {
        expect(error, `case ${i}: ${(error as Error).stack}`).toBeInstanceOf(QwenchError);
      }
    }
    expect((performance.now() - begun) / 12).toBeLessThan(2000);
  });
});

describe("scripts in every text of a report", () => {
  it.each(["training", "evaluation", "comparison"])("none gets into the HTML of a %s as it came", (kind) => {
    for (const payload of PAYLOADS.filter((one, i) => i % 5 === 0 && one.includes("<"))) {
      const html = reportsOf(payload)[kind];
      expect(html.includes("pwned"), payload).toBe(true);
      for (const tag of payload.match(/<\/?[a-z]+[^<>]*pwned[^<>]*>/gi) ?? [])
        expect(html.includes(tag), tag).toBe(false);
    }
  });
});
