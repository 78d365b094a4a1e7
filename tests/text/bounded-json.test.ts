import { expect, it } from "vitest";
import { parseBoundedJson } from "../../src/text/bounded-json.ts";

it("reads JSON, and refuses what only a hostile file holds", () => {
  const text = '{"a,[{": ["\\"[,", 1, {"b": null}], "c\\\\": []}';
  expect(parseBoundedJson(text)).toEqual(JSON.parse(text));
  expect(() => parseBoundedJson(text, { values: 3 })).toThrow("it holds more than 3 values");
  expect(() => parseBoundedJson(text, { depth: 2 })).toThrow("it is nested deeper than 2");
  expect(() => parseBoundedJson("[".repeat(1_000_000))).toThrow("it is nested deeper than 200");
  expect(() => parseBoundedJson(`[${"[],".repeat(4_000_000)}[]]`)).toThrow("it holds more than 3000000 values");
  expect(() => parseBoundedJson('{"a": "')).toThrow(SyntaxError);
});
