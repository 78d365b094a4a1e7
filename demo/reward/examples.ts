/** What a new reward begins with. */
export const EXAMPLES: readonly { title: string; text: string }[] = [
  {
    title: "Short answers",
    text: `/** 1 for a completion of at most 200 characters, falling to 0 at 400. */
export function short_answer(prompts, completions, columns, { step }) {
  return completions.map((turns) => {
    const text = typeof turns === "string" ? turns : turns[0].content;
    return Math.max(0, Math.min(1, 2 - text.length / 200));
  });
}
`,
  },
  {
    title: "The row's answer",
    text: `/** 1 if the last number of a completion is the last number of the row's answer. */
export function right_number(prompts, completions, columns) {
  const last = (text) => text.replaceAll(",", "").match(/-?\\d+(\\.\\d+)?/g)?.at(-1);
  return completions.map((turns, i) => {
    const text = typeof turns === "string" ? turns : turns[0].content;
    const answer = columns.answer?.[i];
    if (typeof answer !== "string") return null; // does not apply to this row
    return Number(last(text)) === Number(last(answer)) ? 1 : 0;
  });
}
`,
  },
  {
    title: "A format",
    text: `/** 1 for <think>…</think> followed by a boxed answer. */
const FORMAT = /^<think>[\\s\\S]+<\\/think>[\\s\\S]*\\\\boxed\\{[^}]+\\}\\s*$/;

export function boxed(prompts, completions) {
  return completions.map((turns) => {
    const text = typeof turns === "string" ? turns : turns[0].content;
    return FORMAT.test(text) ? 1 : 0;
  });
}
`,
  },
];

/** What a function gets and returns, for the note beside the editor. */
export const SIGNATURE = `type Turn = string | { role: string; content: string }[];

export function my_reward(
  prompts: Turn[],
  completions: Turn[],
  columns: Record<string, unknown[]>,
  context: {
    step: number; // from 0
    completion_ids: number[][] | null;
    signal: AbortSignal;
  },
): (number | null)[] | Promise<(number | null)[]>`;
