import { describe, expect, it } from "vitest";
import { extractAnswer, goldAnswerIn, isAnswerAlone, lastBoxed } from "../../../src/rewards/maths/extract.ts";

describe("the last box", () => {
  it.each([
    ["so \\boxed{1}, no: \\boxed{2}.", "2"],
    ["$\\boxed{\\frac{1}{\\sqrt{2}}}$", "\\frac{1}{\\sqrt{2}}"],
    ["\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"],
    ["\\boxed 7", "7"],
    ["\\fbox{8}", "8"],
    ["\\boxed{1} and \\boxed{2}", "1, 2"],
    ["$\\boxed{1}$, $\\boxed{2}$ and $\\boxed{3}$", "1, 2, 3"],
    ["$x_1 = \\boxed{1}$ and $x_2 = \\boxed{2}$", "1, 2"],
    ["$\\boxed{\\frac12}$ or $\\boxed{0.5}$", "\\frac12 \\text{ or } 0.5"],
    ["first \\boxed{1}. After a check we find \\boxed{2}", "2"],
    ["\\boxed{5} twice: \\boxed{5}", "5"],
    ["\\boxed{4} but it is cut \\boxed{5", "4"],
    ["none", null],
  ])("of %j is %j", (text, answer) => {
    expect(lastBoxed(text)).toBe(answer);
  });
});

describe("a completion's answer", () => {
  it.each([
    ["42", "42", "whole"],
    ["$125$ miles", "$125$ miles", "whole"],
    ["x^2 + 2*x + 1", "x^2 + 2*x + 1", "whole"],
    ["\\text{Evelyn}", "\\text{Evelyn}", "whole"],
    ["We get \\boxed{3}, not 4.", "3", "boxed"],
    ["<think>\\boxed{1}</think>\n<answer>\n2\n</answer>", "2", "answer_tag"],
    ["<answer>The sum is $\\boxed{7}$</answer>", "7", "answer_tag"],
    ["<think>maybe \\boxed{1}</think>\nThe answer is 5.", "5", "answer_is"],
    ["<think>it is \\boxed{1}</think>\n", "1", "boxed"],
    ["3 + 4 = 7\n#### 7", "7", "hash"],
    ["The answer is $16,\\!386.20$. I apologize for 3 errors.", "$16,\\!386.20$", "answer_is"],
    ["Final Answer: The final answer is 7.78.", "7.78", "answer_is"],
    ["Final Answer: The volume of $ABC$ is 120. I hope it is correct.", "120", "answer_is"],
    ["The final answer is $3$. Wait: the answer is 4", "$3$", "answer_is"],
    ["**Answer:** $\\frac{1}{2}$", "$\\frac{1}{2}$", "answer_is"],
    ["We see that $x > 3$.", "$x > 3$", "last_mention"],
    ["From $d = 90/n$ there are 12 of them.", "12", "last_mention"],
    ["First 3 of them, then -40.5 %", "-40.5 %", "last_mention"],
    ["It costs $1,250.50 in all.", "$1,250.50", "last_mention"],
    ["10 - 3 is what it was", "3", "last_mention"],
  ])("of %j is %j", (text, answer, by) => {
    expect(extractAnswer(text)).toEqual({ answer, by });
  });

  it("is searched in the requested order", () => {
    const text = "\\boxed{1} and the answer is 2. <answer>3</answer> #### 4\n$5$ and 6 apples fell";
    const by = (...order: Parameters<typeof extractAnswer>[1] & {}) => extractAnswer(text, order)?.answer;
    expect(by("boxed", "answer_tag")).toBe("1");
    expect(by("answer_is")).toBe("2");
    expect(by("answer_tag", "boxed")).toBe("3");
    expect(by("hash")).toBe("4");
    expect(by("latex")).toBe("$5$");
    expect(by("last_number")).toBe("6");
  });

  it("is not found if there is none", () => {
    expect(extractAnswer("")).toBeNull();
    expect(extractAnswer("This sentence goes on for a while.\nIt has nothing to say, and says it twice.")).toBeNull();
    expect(extractAnswer("The result, \\boxed{5}, is sure", ["hash"])).toBeNull();
    expect(extractAnswer("5", ["boxed", "answer_is"])).toBeNull();
    expect(extractAnswer("blue, and not red", ["hash", "whole"])).toEqual({ answer: "blue, and not red", by: "whole" });
  });
});

describe("an expected answer", () => {
  it.each([
    ["We add. Therefore $\\boxed{\\frac{3}{4}}$ is our answer.", "\\frac{3}{4}"],
    ["Janet sells 9 eggs.\n#### 18", "18"],
    ["1,234", "1,234"],
    ["$f(x)=ax+b$, where $b$ is an integer", "$f(x)=ax+b$"],
  ])("in %j is %j", (text, answer) => {
    expect(goldAnswerIn(text)).toBe(answer);
  });
});

describe("an answer alone", () => {
  it.each(["5 cm", "no solution", "(1, 2), (3, 4)", "$1$ and $2$", "x = 1 or x = 2", "2RC + R", "\\frac{e^{at}}{2}"])(
    "is %j",
    (text) => expect(isAnswerAlone(text)).toBe(true),
  );
  it.each(["", "the answer is 5", "it is 5", "Answer $9$", "We have 3 of them", "a\n\nb"])("is not %j", (text) =>
    expect(isAnswerAlone(text)).toBe(false),
  );
});
