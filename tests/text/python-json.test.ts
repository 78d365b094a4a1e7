import { describe, expect, it } from "vitest";
import { copySpelling, isFloat, parsePythonJson, pythonJson } from "../../src/text/python-json.ts";

describe("parsePythonJson and pythonJson", () => {
  // what json.dumps(json.loads(text), ensure_ascii=False) gives
  it.each([
    [
      '{"t": 20.0, "id": 9007199254740993, "eps": 1e-07, "big": 1e+16}',
      '{"t": 20.0, "id": 9007199254740993, "eps": 1e-07, "big": 1e+16}',
    ],
    ['{"b": 1, "10": 2, "9": 3, "a": {"2": 0, "1": 1.50}}', '{"b": 1, "10": 2, "9": 3, "a": {"2": 0, "1": 1.5}}'],
    [
      "[1E3, -0.0, -0, 0.1, 123456789012345678901234567890, 1e400]",
      "[1000.0, -0.0, 0, 0.1, 123456789012345678901234567890, Infinity]",
    ],
    ['["3.0", "1e5", "NaN", {"1": "9007199254740993"}]', '["3.0", "1e5", "NaN", {"1": "9007199254740993"}]'],
    ["[NaN, -Infinity, null, true, 12345678901234567]", "[NaN, -Infinity, null, true, 12345678901234567]"],
    ['{"a": 1.0, "a": 1}', '{"a": 1}'],
    ['"\\u00e9\\n\\/"', '"é\\n/"'],
  ])("%s", (text, wanted) => expect(pythonJson(parsePythonJson(text))).toBe(wanted));

  it("gives plain values", () => {
    const row = parsePythonJson('{"a": 20.0, "n": 9007199254740993, "l": [1.0, 2]}') as Record<string, unknown>;
    expect(row).toEqual({ a: 20, n: 9007199254740993n, l: [1, 2] });
    expect([isFloat(row, "a"), isFloat(row.l as object, 0), isFloat(row.l as object, 1)]).toEqual([true, true, false]);
    expect(Object.hasOwn(parsePythonJson('{"__proto__": 1.0}') as object, "__proto__")).toBe(true);
  });

  it.each(["[1,]", "{'a': 1}", "01", "[1] 2", '"\t"', "", "nul", "[1.]", `[${"9".repeat(5000)}]`, "[".repeat(100_000)])(
    "refuses %.20s with a place",
    (text) => expect(() => parsePythonJson(text)).toThrow(SyntaxError),
  );

  it("refuses deep nesting, written or not", () => {
    const deep = "[".repeat(5000) + "]".repeat(5000);
    expect(() => parsePythonJson(deep)).toThrow("nesting is deeper than 200");
    expect(() => pythonJson(JSON.parse(deep))).toThrow("nesting is deeper than 400");
  });
});

it("a copy is written as its original", () => {
  const row = parsePythonJson('{"b": 2.0, "1": 3}') as object;
  expect(pythonJson(copySpelling(row, { ...row }))).toBe('{"b": 2.0, "1": 3}');
  expect(pythonJson({ ...row })).toBe('{"1": 3, "b": 2}');
});
