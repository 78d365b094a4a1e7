import { describe, expect, it } from "vitest";
import { float, formatJson, JsonNumber, parseJson, pythonFloat } from "../../src/text/json.ts";

describe("JSON that keeps the spelling of numbers", () => {
  it("writes what it read", () => {
    const text =
      '{"a": 1000000.0, "b": [1, 2.50, 1e-07, 12345678901234567890], "c": {"é\\n": null, "t": true}, "d": [], "e": {}}';
    expect(formatJson(parseJson(text))).toBe(text.replace("é", "é"));
    expect(formatJson(parseJson(' [ 1 , "x" ] '))).toBe('[1, "x"]');
    expect(formatJson({ a: [1, { b: float(6) }], c: [] }, 2)).toBe(
      '{\n  "a": [\n    1,\n    {\n      "b": 6.0\n    }\n  ],\n  "c": []\n}',
    );
  });

  it("reads what JSON.parse reads, and refuses what it refuses", () => {
    const same = ['{"x": [true, false, null, "\\u00e9\\"", -0.5e3]}', "[]", '"a"', "0", '{"a":1,"a":2}'];
    for (const text of same) expect(JSON.parse(JSON.stringify(parseJson(text)))).toEqual(JSON.parse(text));
    const bad = ["", "{", "[1,]", "{a:1}", '"\n"', "01", "1 2", "nul", '{"a" 1}', "[1", '"\\x"', "NaN", "+1", ".5"];
    for (const text of bad) {
      expect(() => JSON.parse(text), text).toThrow();
      expect(() => parseJson(text), text).toThrow(SyntaxError);
    }
    expect(() => parseJson("[".repeat(100_000))).toThrow(/deeper than 200/);
  });

  it("writes floats as Python does", () => {
    const cases: [number, string][] = [
      [6, "6.0"],
      [0.1, "0.1"],
      [1e-7, "1e-07"],
      [0.0001, "0.0001"],
      [0.00001234, "1.234e-05"],
      [1e15, "1000000000000000.0"],
      [1e16, "1e+16"],
      [1.5e300, "1.5e+300"],
      [-0, "-0.0"],
      [Number.NaN, "NaN"],
    ];
    for (const [value, text] of cases) expect(pythonFloat(value)).toBe(text);
    expect(JSON.stringify({ a: new JsonNumber("6.0") })).toBe('{"a":6}');
  });
});
