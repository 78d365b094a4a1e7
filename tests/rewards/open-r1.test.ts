import { describe, expect, it } from "vitest";
import { parseRecipe } from "../../src/recipe/recipe.ts";
import { REWARDS, type RewardParameters, rewardNamed } from "../../src/rewards/registry.ts";
import type { Turn } from "../../src/rewards/reward.ts";
import { runRewards } from "../../src/rewards/run.ts";
import { cpuTime } from "../cpu-time.ts";

interface Given {
  answer?: unknown;
  solution?: unknown;
  /** number of tokens of each completion */
  lengths?: number[];
  ids?: number[][];
  parameters?: Partial<RewardParameters>;
}

function scores(name: string, completions: readonly Turn[], given: Given = {}): (number | null)[] {
  const { answer, solution, lengths, ids, parameters } = given;
  const columns: Record<string, unknown[]> = {};
  if (answer !== undefined) columns.answer = completions.map(() => answer);
  if (solution !== undefined) columns.solution = completions.map(() => solution);
  const completion_ids = ids ?? lengths?.map((length) => Array.from({ length }, (_, i) => i)) ?? null;
  const context = { step: 0, completion_ids, signal: new AbortController().signal };
  const { reward } = rewardNamed(name, parameters);
  return reward(
    completions.map(() => "?"),
    completions,
    columns,
    context,
  ) as (number | null)[];
}

const score = (name: string, completion: Turn, given?: Given) => scores(name, [completion], given)[0];

describe("accuracy", () => {
  it.each([
    ["so \\boxed{\\frac{1}{2}}", { answer: "0.5" }, 1],
    ["so \\boxed{\\frac{1}{3}}", { answer: "0.5" }, 0],
    ["The final answer is $0.5$.", { solution: "We see that $x = \\boxed{\\frac12}$." }, 1],
    ["\\boxed{72}", { answer: "48+24 = 72\n#### 72" }, 1],
    ["\\boxed{72}", { answer: 72 }, 1],
    ["72", { answer: "72" }, 0], // not marked as the answer
    ["it is 72", { answer: "72" }, 0],
    ["\\boxed{5}", { answer: "5", solution: "\\boxed{6}" }, 1], // a row's answer counts before its solution
    ["\\boxed{5}", { answer: "" }, null],
    [[{ role: "assistant", content: "\\boxed{5}" }], { answer: "5" }, 1],
  ] as [Turn, Given, number | null][])("of %j for %j is %j", (text, given, reward) => {
    expect(score("accuracy", text, given)).toBe(reward);
    expect(score("accuracy_reward", text, given)).toBe(reward);
  });

  it("requires an answer or a solution", () => {
    expect(() => score("accuracy", "\\boxed{1}", {})).toThrow("compares with the column answer");
  });

  it("after reasoning, grades only the text after it", () => {
    const one = (text: string) => score("reasoning_accuracy_reward", text, { answer: "1/3" });
    expect(one("<think> hm </think> The final answer is \\boxed{\\frac{1}{3}}")).toBe(1);
    expect(one("<think> hm </think> The final answer is \\boxed{\\frac{1}{2}}")).toBe(0);
    expect(one("<think> partly \\boxed{\\frac{1}{3}} and no end")).toBe(0);
    expect(one("<think> partly \\boxed{\\frac{1}{3}} </think> so")).toBe(0);
  });
});

describe("format", () => {
  it.each([
    ["<think>\na\n</think>\n<answer>\nb\n</answer>", 1],
    ["<think>\na\nb\n</think>\n<answer>\nc\nd\n</answer>\nmore", 1], // $ stands before every line feed
    ["<think>\na\n</think>\n<answer>\nb\n</answer> more", 0],
    ["<think>\na\n</think>\n<answer>\nb\n</answer> \n</answer>", 1],
    [" <think>\na\n</think>\n<answer>\nb\n</answer>", 0],
    ["<think>a</think><answer>b</answer>", 0],
    ["<think>\na\n</think>\n\n<answer>\nb\n</answer>", 0],
    ["<think>\n\n</think>\n<answer>\n\n</answer>", 1],
    ["<think>\na\n</think>\n<answer>\n</answer>", 0],
    ["", 0],
  ])("of %j is %d", (text, reward) => {
    expect(score("format", text)).toBe(reward);
  });

  it("does not backtrack endlessly", () => {
    const spent = cpuTime();
    expect(score("format", `<think>\n${"x\n</think>\n<answer>\ny".repeat(20_000)}`)).toBe(0);
    expect(spent()).toBeLessThan(3);
  });

  it.each([
    ["<think>\na\n</think>\n<answer>\nb\n</answer>", 1],
    ["<think>\na\n</think>\n", 0.5],
    ["<think>\n<think>\na\n</think>\n<answer>\nb\n</answer>", 0.75],
    ["<think>a</think>", 0],
  ])("by counted tags of %j is %d", (text, reward) => {
    expect(score("tag_count", text)).toBe(reward);
  });

  it.each([
    ["", 0],
    ["Step 1: a\nStep 2: b", 2 / 3],
    ["1. a\n2. b", 1 / 3], // a number counts at the very start only
    ["x\n- a\n* b\n- c\n- d", 1],
    ["First, a. Next, b", 2 / 3],
    ["first, a", 0],
  ])("by steps of %j is %d", (text, reward) => {
    expect(score("reasoning_steps", text)).toBeCloseTo(reward, 12);
  });

  it.each([
    ["<think>\nThis is my reasoning.\n</think>\nThis is my answer.", 1],
    ["<think>\nThis is my reasoning.\nThis is my answer.", 0],
    ["<think></think>", 1],
    ["<think>a<think>b</think>c", 0],
    ["<think>a</think>b<think>c", 0],
    ["\n<think>a</think>", 0],
  ])("by TRL's tags of %j is %d", (text, reward) => {
    expect(score("think_format_reward", text)).toBe(reward);
  });
});

describe("length", () => {
  const right = (length: number) => "\\boxed{1}".padEnd(length, ".");
  const wrong = (length: number) => "\\boxed{2}".padEnd(length, ".");

  it("falls over the batch from 0.5 to −0.5, for wrong completions from 0", () => {
    const texts = [right(10), right(15), right(20), wrong(10), wrong(15), wrong(20), wrong(18)];
    const made = scores("length", texts, { answer: "1" });
    [0.5, 0, -0.5, 0, 0, -0.5, -0.3].forEach((value, i) => {
      expect(made[i]).toBeCloseTo(value, 12);
    });
  });

  it("is 0 if all have the same length, in Python's characters", () => {
    expect(scores("length", [right(10), wrong(10)], { answer: "1" })).toEqual([0, 0]);
    expect(scores("length", [`${right(10)}😀`, `${wrong(10)}x`], { answer: "1" })).toEqual([0, 0]);
    expect(scores("length", [right(10), wrong(20)], { answer: "" })).toEqual([0.5, -0.5]);
  });

  it("by a cosine of characters, with open-r1's defaults", () => {
    // correct: 0.5 + 0.25·(1 + cos(π·n/1000)); wrong: −0.5 + 0.25·(1 + cos(π·n/1000)) from −0.5 to 0
    const made = scores("cosine", [right(500), wrong(500), right(1000), wrong(1000), right(250)], { answer: "1" });
    [0.75, -0.25, 0.5, -0.5, 0.5 + 0.25 * (1 + Math.SQRT1_2)].forEach((value, i) => {
      expect(made[i]).toBeCloseTo(value, 12);
    });
    expect(score("cosine", right(2000), { answer: "1" })).toBeCloseTo(1, 12); // it turns back
    expect(score("cosine", right(500), { answer: "" })).toBe(1);
  });

  it("by a cosine with a recipe's own ends", () => {
    const parameters = {
      cosine_min_value_wrong: -10,
      cosine_max_value_wrong: -2,
      cosine_min_value_correct: 1,
      cosine_max_value_correct: 3,
      cosine_max_len: 100,
    };
    const made = scores("cosine", [right(50), wrong(50), wrong(100)], { answer: "1", parameters });
    [2, -6, -2].forEach((value, i) => {
      expect(made[i]).toBeCloseTo(value, 12);
    });
  });

  it("by TRL's cosine of tokens", () => {
    const parameters = { cosine_max_len: 100 };
    const texts = ["\\boxed{1}", "\\boxed{2}", "\\boxed{1}", "\\boxed{2}", "\\boxed{1}"];
    const made = scores("cosine_scaled_reward", texts, { answer: "1", lengths: [50, 50, 100, 300, 0], parameters });
    [0.75, -0.75, 0.5, -0.5, 1].forEach((value, i) => {
      expect(made[i]).toBeCloseTo(value, 12);
    });
    const run = { max_completion_length: 200 };
    expect(score("cosine_scaled_reward", "\\boxed{1}", { answer: "1", lengths: [100], parameters: run })).toBeCloseTo(
      0.75,
      12,
    );
    expect(score("cosine_scaled_reward", "\\boxed{1}", { answer: "", lengths: [100] })).toBeNull();
    expect(() => score("cosine_scaled_reward", "\\boxed{1}", { answer: "1" })).toThrow(
      "cosine_scaled_reward needs the completions' tokens, but only their text is known",
    );
  });

  it("is punished softly beyond a margin", () => {
    const parameters = { max_completion_len: 100, soft_punish_cache: 20 };
    const lengths = [0, 80, 81, 90, 100, 101];
    const texts = lengths.map(() => "x");
    const made = scores("soft_overlong_punishment", texts, { lengths, parameters });
    [0, 0, -0.05, -0.5, -1, -1].forEach((value, i) => {
      expect(made[i]).toBeCloseTo(value, 12);
    });
    const defaults = (name: string, length: number) => score(name, "x", { lengths: [length] });
    expect(defaults("soft_overlong_punishment", 12288)).toBe(0);
    expect(defaults("soft_overlong_punishment", 14336)).toBe(-0.5);
    expect(defaults("get_soft_overlong_punishment", 1024)).toBe(0);
    expect(defaults("get_soft_overlong_punishment", 1152)).toBe(-0.5);
    const none = { max_completion_len: 100, soft_punish_cache: 0 };
    expect(scores("soft_overlong_punishment", ["x", "x"], { lengths: [100, 101], parameters: none })).toEqual([0, -1]);
    expect(() => rewardNamed("soft_overlong_punishment", { max_completion_len: 10 })).toThrow(
      "soft_punish_cache must be at most max_completion_len 10, got 4096",
    );
  });
});

describe("repetition", () => {
  it.each([
    ["", 0],
    ["a b", 0],
    ["a b c d", 0],
    ["a b c a b c", -0.25], // abc bca cab abc: three of four differ
    ["A b C  a\nB c", -0.25],
    ["x x x x x", -2 / 3],
  ])("of words in %j is %d", (text, reward) => {
    expect(score("repetition_penalty", text)).toBeCloseTo(reward, 12);
  });

  it("of words with a recipe's own size and penalty", () => {
    const parameters = { repetition_n_grams: 1, repetition_max_penalty: -4 };
    expect(score("repetition_penalty", "a b a b", { parameters })).toBe(-2);
  });

  it("of tokens", () => {
    const parameters = { repetition_n_grams: 2 };
    const ids = [[1, 2, 3, 4], [5, 5, 5, 5, 5], [7], [1, 11, 1, 11]];
    const made = scores("repetition_penalty_reward", ["a", "b", "c", "d"], { ids, parameters });
    [0, -0.75, 0, -1 / 3].forEach((value, i) => {
      expect(made[i]).toBeCloseTo(value, 12);
    });
  });
});

describe("the registry", () => {
  it("knows the names of open-r1's and of TRL's scripts", () => {
    const names = [
      ..."accuracy format tag_count reasoning_steps length cosine repetition_penalty soft_overlong_punishment".split(
        " ",
      ),
      ..."accuracy_reward reasoning_accuracy_reward think_format_reward get_soft_overlong_punishment".split(" "),
    ];
    for (const name of names) expect(REWARDS).toHaveProperty(name);
  });

  it("logs by the functions' names, as TRL does", () => {
    expect(rewardNamed("accuracy").name).toBe("accuracy_reward");
    expect(rewardNamed("length").name).toBe("len_reward");
    expect(rewardNamed("cosine").name).toBe("cosine_scaled_reward");
    expect(rewardNamed("get_soft_overlong_punishment").name).toBe("soft_overlong_punishment_reward");
    expect(rewardNamed("int_reward_func").name).toBe("int_reward_func");
  });

  it("reads its parameters from a recipe, with open-r1's names", () => {
    const { recipe } = parseRecipe(
      { cosine_max_len: 100, cosine_max_value_correct: 2, repetition_n_grams: "1" },
      "grpo",
    );
    const { reward } = rewardNamed("cosine", recipe);
    const context = { step: 0, completion_ids: null, signal: new AbortController().signal };
    const [made] = reward(["?"], ["\\boxed{1}".padEnd(50)], { answer: ["1"] }, context) as number[];
    expect(made).toBeCloseTo(1.25, 12);
    expect(score("repetition_penalty", "a a", { parameters: recipe })).toBe(-0.5);
    expect(() => parseRecipe({ repetition_max_penalty: 1 }, "grpo")).toThrow(
      "repetition_max_penalty must be a number at most 0",
    );
    expect(() => parseRecipe({ cosine_max_len: 0 }, "grpo")).toThrow("cosine_max_len must be an integer of at least 1");
  });

  it("passes tokens to functions, one list per completion", async () => {
    const batch = { prompts: ["?", "?"], completions: ["a", "b"], columns: {}, step: 0 };
    const functions = [rewardNamed("soft_overlong_punishment", { max_completion_len: 4, soft_punish_cache: 2 })];
    const limits = { timeout_ms: null };
    const { rewards } = await runRewards(functions, null, { ...batch, completion_ids: [[1, 2, 3], [1]] }, limits);
    expect(rewards).toEqual([[-0.5, 0]]);
    await expect(runRewards(functions, null, { ...batch, completion_ids: [[1]] }, limits)).rejects.toThrow(
      "Cannot reward 2 completions: there are 1 completion_ids",
    );
    await expect(runRewards(functions, null, batch, limits)).rejects.toThrow("only their text is known");
  });
});
