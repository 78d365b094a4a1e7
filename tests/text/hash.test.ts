import { expect, it } from "vitest";
import { fnvNumbers, fnvText, lcg } from "../../src/text/hash.ts";

// test vectors of Fowler, Noll and Vo's own
it.each([
  ["", 0x811c9dc5],
  ["a", 0xe40c292c],
  ["foobar", 0xbf9cf968],
])("FNV-1a of %j", (text, hash) => {
  expect(fnvText(text) >>> 0).toBe(hash);
  expect(fnvNumbers(new TextEncoder().encode(text)) >>> 0).toBe(hash);
  expect(fnvText(text.slice(2), fnvText(text.slice(0, 2))) >>> 0).toBe(hash);
});

it("the generator gives the numbers of its recurrence", () => {
  const next = lcg(0);
  expect([next(), next(), next()]).toEqual([1013904223, 1196435762, 3519870697]);
});
