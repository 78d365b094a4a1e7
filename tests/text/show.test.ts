import { describe, expect, it } from "vitest";
import { cut, kindOf, messageOf, oneLine, show } from "../../src/text/show.ts";

describe("values in errors", () => {
  it.each([
    [undefined, "nothing"],
    [null, "null"],
    [Number.NaN, "NaN"],
    [2n ** 70n, "1180591620717411303424"],
    ["a\u001b[2J\n", '"a\\u001b[2J\\n"'],
    ["x".repeat(200), `"${"x".repeat(79)}…"`],
    [{ a: [1, "b"] }, '{"a":[1,"b"]}'],
    [Array.from({ length: 100 }, () => 1), `[${"1,".repeat(39)}…`],
    [{ big: 1n }, "a value that is not JSON or is nested too deep"],
    [JSON.parse(`${"[".repeat(9000)}${"]".repeat(9000)}`), "a value that is not JSON or is nested too deep"],
  ])("%# shows a value", (value, text) => expect(show(value)).toBe(text));

  it("does not split surrogate pairs", () => expect(cut("😀😀", 2)).toBe("…"));

  it("removes control characters", () => expect(oneLine("a\u0007b\u009bc\u2028d\nе")).toBe("a?b?c?d?е"));

  it.each([
    [[1, 2], "a list of 2"],
    [{ role: 1, content: 2 }, "an object with role, content"],
    [{}, "an object with no keys"],
    [null, "null"],
    ["hi", '"hi"'],
  ])("%# tells a kind", (value, text) => expect(kindOf(value)).toBe(text));

  it("tells what was thrown", () => expect([new Error("a"), "b"].map(messageOf)).toEqual(["a", "b"]));
});
