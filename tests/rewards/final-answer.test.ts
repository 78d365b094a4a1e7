import { describe, expect, it } from "vitest";
import { finalAnswer, isRight } from "../../src/rewards/final-answer.ts";

describe("the final answer of a completion", () => {
  it.each([
    ["<reasoning>\n3*4=12\n</reasoning>\n<answer>\n12\n</answer>\n", "12"],
    ["#### 5\n<answer>7</answer>", "7"],
    ["<answer>\n$1,234\n</answer>", "1234"],
    ["<answer>\n\n</answer>", ""],
    ["3*4=12\n#### 12", "12"],
    ["#### 1,000\nand 3 more", "1000"],
    ["First 3, then 40.", "40"],
    ["It costs $1,250.50 in all.", "1250.50"],
    ["minus -7", "-7"],
    ["none", null],
  ])("of %j is %j", (text, expected) => {
    expect(finalAnswer(text)).toBe(expected);
  });

  it("is right by its value, not its letters", () => {
    expect(isRight("#### 12.0", "12")).toBe(true);
    expect(isRight("<answer>12</answer>", "12")).toBe(true);
    expect(isRight("<answer>x+1</answer>", "x+1")).toBe(true);
    expect(isRight("<answer>13</answer>", "12")).toBe(false);
    expect(isRight("<answer></answer>", "12")).toBe(false);
    expect(isRight("none", "12")).toBe(false);
  });

  it("is right to its last digit, beyond 2^53 too", () => {
    expect(isRight("#### 9007199254740993", "9007199254740993.0")).toBe(true);
    expect(isRight("#### 9007199254740992", "9007199254740993")).toBe(false);
    expect(isRight("#### 123456789012345678", "123456789012345679")).toBe(false);
    expect(isRight("#### 1e3", "1000")).toBe(true);
  });
});
