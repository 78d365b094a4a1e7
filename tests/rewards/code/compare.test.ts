import { describe, expect, test } from "vitest";
import { equalsJson, outputFault, type ToldValue } from "../../../src/rewards/code/compare.ts";
import { extractCode } from "../../../src/rewards/code/extract.ts";
import { cpuTime } from "../../cpu-time.ts";

const int = (value: bigint | number): ToldValue => ({
  int: (value < 0 ? "-0x" : "0x") + value.toString(16).replace("-", ""),
});
const float = (text: string): ToldValue => ({ float: text });

describe("printed output", () => {
  test.each([
    ["1\n2", "1\n2"],
    ["\n 1 \n2\n\n", "1\n 2"],
    ["1.0 2", "1 2.000"],
    ["1e3 -0 .5 5.", "1000 0 0.5 5"],
    ["1_000", "1000"],
    ["+7", "7"],
    ["inf -Infinity", "Infinity -inf"],
    ["nan", "nan"], // the same text
    ["123456789012345678901234567890.0", "123456789012345678901234567890"],
    ["1e1000000000000", "10e999999999999"],
    ["", ""],
    ["a\u3000", "a"],
    ["YES", "YES"],
  ])("%j is %j", (printed, expected) => {
    expect(outputFault(printed, expected)).toBeNull();
    expect(outputFault(expected, printed)).toBeNull();
  });

  test.each([
    ["1\n2\n3", "1\n2", "it printed 3 lines, not 2 lines"],
    ["1", "1\n2", "it printed 1 line, not 2 lines"],
    ["1\n\n2", "1\n2", "it printed 3 lines, not 2 lines"],
    ["yes", "YES", 'line 1 of the output is "yes", not "YES"'],
    ["1\n3", "1\n4", 'line 2 of the output is "3", not "4"'],
    ["1 2", "1 2 3", 'line 1 of the output is "1 2", not "1 2 3"'],
    ["0.1", "0.10000001", 'line 1 of the output is "0.1", not "0.10000001"'],
    ["50000000000000000", "50000000000000001", "line 1"], // equal as floats
    ["nan", "NaN", "line 1"],
    ["1 a", "1.0 a", "line 1"], // one word is not a number, so the texts are compared
    ["0x10", "16", "line 1"],
    ["", "0", "line 1"],
    ["1,5", "1.5", "line 1"],
  ])("%j is not %j: %s", (printed, expected, fault) => {
    expect(outputFault(printed, expected)).toContain(fault);
  });
});

describe("the result of a call", () => {
  test.each<[ToldValue, string]>([
    [null, "null"],
    [true, "true"],
    [true, "1"], // as in Python
    [false, "0.0"],
    [int(1), "true"],
    [int(3), "3"],
    [int(3), "3.0"],
    [float("3.0"), "3"],
    [float("1e+16"), "10000000000000000"],
    [float("0.1"), "0.1000000000000000055"], // the same float
    [int(2n ** 70n), "1180591620717411303424"],
    [int(-5), "-5"],
    [float("inf"), "Infinity"],
    [float("-inf"), "-Infinity"],
    ["a\n", '"a\\n"'],
    ["1", '"1"'],
    ["\u00001", '"\\u00001"'],
    ["-Infinity 12", '"-Infinity 12"'],
    [[int(1), [float("2.5")]], "[1, [2.5]]"],
    [[], "[]"],
    [
      {
        dict: [
          ["b", int(2)],
          ["a", [int(1)]],
        ],
      },
      '{"a": [1], "b": 2}',
    ],
  ])("%j == %s", (value, json) => {
    expect(equalsJson(value, json)).toBe(true);
  });

  test.each<[ToldValue, string]>([
    [null, "0"],
    [null, "false"],
    ["1", "1"],
    [int(1), '"1"'],
    [int(1), '"\\u00001"'],
    ["\u00001", "1"],
    [int(9007199254740993n), "9007199254740992"],
    [float("9007199254740992.0"), "9007199254740993"],
    [float("nan"), "NaN"],
    [float("0.30000000000000004"), "0.3"],
    [[int(1)], "[1, 2]"],
    [[int(1), int(2)], "[2, 1]"],
    [int(1), "[1]"],
    [[int(1)], "1"],
    [{ dict: [["a", int(1)]] }, '{"a": 1, "b": 1}'],
    [
      {
        dict: [
          ["a", int(1)],
          ["c", int(1)],
        ],
      },
      '{"a": 1, "b": 1}',
    ],
    [{ dict: [] }, "[]"],
    [{ other: "builtins.set" }, "[1]"],
    [{ int: "0x1" }, '{"int": "0x1"}'],
  ])("%j != %s", (value, json) => {
    expect(equalsJson(value, json)).toBe(false);
  });

  test("endless nesting is unequal, not an error", () => {
    let value: ToldValue = [];
    for (let i = 0; i < 3000; i++) value = [value];
    expect(equalsJson(value, "[".repeat(3001) + "]".repeat(3001))).toBe(false);
  });
});

describe("the program in a completion", () => {
  test.each([
    ["```python\nx = 1\n```", "x = 1\n"],
    ["First:\n```python\nx = 1\n```\nBetter:\n```py\nx = 2\n```\nDone.", "x = 2\n"],
    ["```Python3 \r\nx\r\n```", "x\r\n"],
    ["```python\nx = 1\n```\nIt prints\n```\n1\n```", "x = 1\n"], // a language mark counts more than the position
    ["```\nx = 1\n```", "x = 1\n"],
    ["```cpp\nint x;\n```\n```\nx = 1\n```", "x = 1\n"],
    ["```python\n```", ""],
  ])("%j", (text, code) => {
    expect(extractCode(text)).toBe(code);
  });

  test.each(["x = 1", "```python\nx = 1", "```python x = 1```", "```cpp\nint x;\n```", ""])("none in %j", (text) => {
    expect(extractCode(text)).toBeNull();
  });

  test("is found quickly in texts that are hard to search", () => {
    const spent = cpuTime();
    for (const text of ["```python\n".repeat(20_000), "```\n".repeat(50_000), "`".repeat(200_000)]) extractCode(text);
    expect(spent()).toBeLessThan(10);
  });
});
