import { describe, expect, it } from "vitest";
import { extractHashAnswer, extractXmlAnswer, goldAnswer, parseFloatStrict } from "../../src/rewards/answers.ts";
import { GSM8K_REWARDS, REWARDS, rewardNamed } from "../../src/rewards/registry.ts";
import type { Turn } from "../../src/rewards/reward.ts";
import { cpuTime } from "../cpu-time.ts";
import { sharedRows } from "../shared.ts";

const context = { step: 0, completion_ids: null, signal: new AbortController().signal };

/** One reward of one completion. */
function score(name: string, completion: Turn, answer: unknown = "72"): number | null {
  const result = rewardNamed(name).reward(["?"], [completion], { answer: [answer] }, context);
  return (result as (number | null)[])[0];
}

const PERFECT = "<reasoning>\n48/2 = 24\n48+24 = 72\n</reasoning>\n<answer>\n72\n</answer>\n";

describe("answers", () => {
  it.each([
    ["Natalia sold 48+24 = <<48+24=72>>72 clips.\n#### 72", "72"],
    ["x\n#### 1,450,000", "1450000"],
    ["x\n#### -10", "-10"],
    ["x\n#### $1,080 ", "1080"],
    ["#### 5\n#### 6", "5"], // as split("####")[1]
    ["no answer", null],
  ])("%j ends with %j", (text, answer) => {
    expect(extractHashAnswer(text)).toBe(answer);
  });

  it.each([
    [PERFECT, "72"],
    ["<answer> 1 </answer><answer>2</answer> tail", "2"],
    ["<answer>3", "3"],
    ["just text ", "just text"],
    ["a</answer>b", "a"],
  ])("%j answers %j", (text, answer) => {
    expect(extractXmlAnswer(text)).toBe(answer);
  });

  it("reads the expected answer from a solution, from text and from a number", () => {
    expect(goldAnswer({ answer: "so\n#### 2,125" })).toBe("2125");
    expect(goldAnswer({ answer: " 2,125 " })).toBe("2125");
    expect(goldAnswer({ answer: "$12,345.50" })).toBe("12345.50");
    expect(goldAnswer({ answer: "(1, 2)" })).toBe("(1, 2)");
    expect(goldAnswer({ answer: "1,2" })).toBe("1,2");
    expect(goldAnswer({ answer: 7 })).toBe("7");
    expect(() => goldAnswer({ question: "?" })).toThrow(
      "answer, but the row's answer is missing; the row's columns: question",
    );
    expect(() => goldAnswer({ answer: null })).toThrow("the row's answer is null");
  });

  it.each([
    ["1", 1],
    [" -1.5e3 ", -1500],
    ["1_000", 1000],
    [".5", 0.5],
    ["5.", 5],
    ["inf", Number.POSITIVE_INFINITY],
    ["-Infinity", Number.NEGATIVE_INFINITY],
    ["nan", Number.NaN],
    ["1,000", null],
    ["", null],
    ["0x10", null],
    ["1_", null],
    [".", null],
    ["1 2", null],
    [`${"1".repeat(100_000)}x`, null],
  ])("parses %.20j like Python's float: %j", (text, value) => {
    expect(parseFloatStrict(text)).toEqual(value);
  });

  const rows = sharedRows("data/gsm8k/test.jsonl");
  it.skipIf(!rows)("every answer of GSM8K's test rows is a whole number", () => {
    const odd = rows!.filter((row) => !/^-?\d+$/.test(goldAnswer(row)));
    expect(odd).toEqual([]);
  });
});

describe("the five rewards of the GSM8K recipe", () => {
  it("exist under their own names", () => {
    expect(GSM8K_REWARDS).toHaveLength(5);
    expect(GSM8K_REWARDS.map((name) => score(name, PERFECT))).toEqual([0.5, 0.5, 0.5, 0.5, 2]);
    for (const name of GSM8K_REWARDS) expect(REWARDS).toHaveProperty(name);
    expect(() => rewardNamed("toString")).toThrow(
      'There is no reward function "toString"; functions: correctness_reward_func,',
    );
  });

  it("treat a conversation's first message like text", () => {
    const turn = [{ role: "assistant", content: PERFECT }];
    for (const name of GSM8K_REWARDS) expect(score(name, turn)).toBe(score(name, PERFECT));
    expect(score("int_reward_func", [])).toBe(0);
  });

  it.each([
    ["<answer>72</answer>", "72", 2],
    ["72", "72", 2],
    ["<answer>72</answer>", "so\n#### 72", 2],
    ["<answer>72</answer>", 72, 2],
    ["<answer>1450000</answer>", "#### 1,450,000", 2],
    ["<answer>1,450,000</answer>", "#### 1,450,000", 0], // letter for letter
    ["<answer>72.0</answer>", "72", 0],
    ["<answer>72 clips</answer>", "72", 0],
  ])("correctness of %j against %j: %d", (text, answer, reward) => {
    expect(score("correctness_reward_func", text, answer)).toBe(reward);
  });

  it.each([
    ["<answer>72</answer>", 0.5],
    ["72", 0.5],
    ["<answer>-72</answer>", 0],
    ["<answer>7.2</answer>", 0],
    ["<answer>7,200</answer>", 0],
    ["<answer></answer>", 0],
  ])("int of %j: %d", (text, reward) => {
    expect(score("int_reward_func", text)).toBe(reward);
  });

  it.each([
    [PERFECT, 0.5],
    [`${PERFECT}\n`, 0.5], // Python's $ stands before a last line feed, too
    [`${PERFECT}\n\n`, 0],
    [PERFECT.trimEnd(), 0],
    [` ${PERFECT}`, 0],
    ["<reasoning>a</reasoning>\n<answer>\n72\n</answer>\n", 0],
    [`${PERFECT}tail`, 0],
  ])("strict format of %j: %d", (text, reward) => {
    expect(score("strict_format_reward_func", text)).toBe(reward);
  });

  it.each([
    [PERFECT, 0.5],
    ["<reasoning>a</reasoning><answer>b</answer>", 0.5],
    ["<reasoning>a\nb</reasoning> \n <answer></answer> tail", 0.5],
    ["lead <reasoning>a</reasoning><answer>b</answer>", 0], // re.match begins at the start
    ["<reasoning>a</reasoning>and<answer>b</answer>", 0],
    ["<answer>b</answer>", 0],
  ])("soft format of %j: %d", (text, reward) => {
    expect(score("soft_format_reward_func", text)).toBe(reward);
  });

  it.each([
    [PERFECT, 0.5],
    [`${PERFECT}tail`, 0.5 - 4e-3 - 4e-3],
    [`${PERFECT}🙂🙂`, 0.5 - 2e-3 - 2e-3], // characters, not UTF-16 units
    // without the last line feed: the opening tag pays for the whole text, the closing one gains a point
    [PERFECT.trimEnd(), 0.5 - PERFECT.trimEnd().length * 1e-3 + 1e-3],
    ["<reasoning>\na\n</reasoning>\n", 0.25],
    ["<reasoning>\n", 0.125],
    ["<reasoning>\n<reasoning>\n", 0],
    ["x\n<answer>\n1", 0.125 - 12e-3],
    ["x\n</answer>\n", 0.125],
    ["x\n</answer>abc", 0.125 - 2e-3],
    ["plain", 0],
  ])("xmlcount of %j: %d", (text, reward) => {
    expect(score("xmlcount_reward_func", text)).toBeCloseTo(reward, 12);
  });
});

const [S, E, O, C] = ["<start_working_out>", "<end_working_out>", "<SOLUTION>", "</SOLUTION>"];
const wrap = (solution: string) => `${S}think${E}${O}${solution}${C}`;

describe("format and answer rewards with partial credit", () => {
  it.each([
    [wrap("72"), 3],
    [`  \n ${wrap("72")}\n `, 3],
    [`intro\n${wrap("7\n2")}  \nouttro`, 3], // ^ and $ are of lines
    [`intro ${wrap("72")}`, 0],
    [`intro ${S}x\n${wrap("72")}`, 3],
    [`${wrap("72")} outtro`, 0],
    [`${S}a${E} so ${O}1${C} or ${O}2${C}`, 3],
    [`${S}${E}${O}72${C}`, 0], // nothing between the working's tags
    [`${S}a${E}${O}${C}`, 0],
    [`${S}a${O}1${C}${E}`, 0],
    ["72", 0],
    ["", 0],
  ])("exact format of %j: %d", (text, reward) => {
    expect(score("match_format_exactly", text)).toBe(reward);
    const pattern = new RegExp(`^\\s*${S}.+?${E}.*?${O}(.+?)${C}\\s*$`, "ms");
    expect(pattern.test(text) ? 3 : 0).toBe(reward);
  });

  it("a degenerate completion is scored quickly", () => {
    const spent = cpuTime();
    expect(score("match_format_exactly", `${S.repeat(400)}${E.repeat(400)}${O.repeat(400)}${C.repeat(400)}x`)).toBe(0);
    expect(score("check_numbers", O.repeat(2000))).toBe(0);
    expect(spent()).toBeLessThan(4);
  });

  it.each([
    [wrap("72"), 2],
    [`${S}${S}a${E}${O}72${C}`, 1],
    [`${O}72${C}`, 0],
    [`${S}`, -1],
    ["", -2],
  ])("approximate format of %j: %d", (text, reward) => {
    expect(score("match_format_approximately", text)).toBe(reward);
  });

  it.each([
    [wrap("72"), "72", 3],
    [wrap(" 72\n"), "72", 1.5],
    [wrap("72.0"), "72", 0.5], // ratio 1
    [wrap("66"), "72", 0.5],
    [wrap("60"), "72", 0.25],
    [wrap("86"), "72", 0.25],
    [wrap("10"), "72", -1],
    [wrap("nan"), "72", -1],
    [wrap("many"), "72", -0.5],
    [wrap("1"), "0", -0.5], // division by zero
    [wrap("1"), "many", -0.5],
    [wrap("1,600"), "#### 1,600", -0.5],
    [wrap("1600"), "#### 1,600", 3],
    [`${O}72${C}`, "72", 0],
  ])("answer %j against %j: %d", (text, answer, reward) => {
    expect(score("check_answer", text, answer)).toBe(reward);
  });

  it.each([
    [`${O}72`, "72", 1.5],
    [`${O} it is 72.0 clips`, "72", 1.5],
    [`${O}$1,600${C}`, "#### 1,600", 1.5],
    [`${O}-10${C}`, "#### -10", 1.5],
    [`${O}10${C}`, "#### -10", 0],
    [`${O}1 then 72`, "72", 0],
    [`${O}none. 72`, "72", 0], // the full stop comes first
    ["72", "72", 0],
    [`${O}72`, "many", 0],
  ])("number in %j against %j: %d", (text, answer, reward) => {
    expect(score("check_numbers", text, answer)).toBe(reward);
  });
});
