import type { Problem } from "./data-set.ts";

/** Formats for writing a solution as a completion. */
export const FORMS = ["text", "answer", "xml", "think", "think_answer", "working_out"] as const;
export type Form = (typeof FORMS)[number];

/**
 * System prompts of published recipes, word for word.
 *
 * - `xml`: W. Brown 2025, grpo_demo.py, https://gist.github.com/willccbb/4676755236bb08cab5f4e54a0475d6fb
 * - `think_answer`: open-r1, recipes/Qwen2.5-1.5B-Instruct/grpo/config_demo.yaml
 * - `open_rs`: Dang and Ngo 2025, arXiv:2503.16219, recipes/grpo.yaml
 * - `working_out`: Unsloth's Gemma3_(1B)-GRPO notebook
 * - `aime`: Unsloth, tests/utils/aime_eval.py
 * - `think`: ours, for programs: reasoning, then a fenced block
 */
export const SYSTEM_PROMPTS = {
  xml: "\nRespond in the following format:\n<reasoning>\n...\n</reasoning>\n<answer>\n...\n</answer>\n",
  think_answer:
    "You are a helpful AI Assistant that provides well-reasoned and detailed responses. You first think about the reasoning process as an internal monologue and then provide the user with the answer. Respond in the following format: <think>\n...\n</think>\n<answer>\n...\n</answer>",
  open_rs:
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant first thinks about the reasoning process in the mind and then provides the user with the answer, and put your final answer within \\boxed{{}} . The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>. Note that respond by English, NOT use other languages.",
  working_out:
    "You are given a problem.\nThink about the problem and provide your working out.\nPlace it between <start_working_out> and <end_working_out>.\nThen, provide your solution between <SOLUTION></SOLUTION>",
  aime: "You are a mathematical problem solver. Solve the given problem step by step and provide your final answer clearly.",
  think:
    "Think about the problem first, between <think> and </think>. Then answer with one Python program in a fenced code block that begins with ```python.",
} as const;

/** The question of Unsloth's AIME evaluation. */
export const AIME_TEMPLATE = "Problem: {problem}\n\nSolve this step by step and provide your final numerical answer.";

/** A fenced Python block. */
function fenced(code: string): string {
  return `\`\`\`python\n${code.replace(/^\n+|\s+$/g, "")}\n\`\`\``;
}

/**
 * A problem's solution as a completion; undefined if the data set has none.
 *
 * - `text`: unchanged; a program in a fenced block
 * - `answer`: only the answer, without the reasoning; a program in a fenced block
 * - `xml`: `<reasoning>` and `<answer>`, one tag per line
 * - `think`: `<think>`, then the boxed answer or the fenced program
 * - `think_answer`: `<think>` and `<answer>`, one tag per line, as open-r1's format reward requires
 * - `working_out`: Unsloth's four tags
 */
export function completionOf(problem: Problem, form: Form): string | undefined {
  const { solution, code } = problem;
  if (form === "text") return solution ?? (code === undefined ? undefined : fenced(code));
  const answer = code === undefined ? problem.answer : fenced(code);
  if (form === "answer") return answer;
  const reasoning = problem.reasoning?.trim();
  if (answer === undefined || reasoning === undefined) return undefined;
  switch (form) {
    case "xml":
      return `<reasoning>\n${reasoning}\n</reasoning>\n<answer>\n${answer}\n</answer>\n`;
    case "think": {
      const end = code === undefined ? `The final answer is $\\boxed{${answer}}$.` : answer;
      return `<think>\n${reasoning}\n</think>\n\n${end}`;
    }
    case "think_answer":
      return `<think>\n${reasoning}\n</think>\n<answer>\n${answer}\n</answer>`;
    case "working_out":
      return `<start_working_out>${reasoning}<end_working_out><SOLUTION>${answer}</SOLUTION>`;
  }
}
