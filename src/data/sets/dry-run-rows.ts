import { NotFoundError } from "../../errors.ts";
import { drawFrom, wordProblems, working } from "./word-problems.ts";

type Row = Record<string, unknown>;

/** Number of sample problems. */
const COUNT = 16;

const problems = () => wordProblems({ seed: 5, count: COUNT, split: "train" });

/** Small programs: the task, and two solutions. */
const PROGRAMS: readonly [string, string, string][] = [
  ["sum", "print(a + b)", "c = a\nc += b\nprint(c)"],
  ["product", "print(a * b)", "c = a\nc *= b\nprint(c)"],
  ["difference", "print(a - b)", "c = a\nc -= b\nprint(c)"],
  ["larger", "print(max(a, b))", "print(a if a > b else b)"],
];

/** Rows with OpenCodeReasoning's columns: each problem occurs several times with different solutions. */
function programs(): Row[] {
  const draw = drawFrom(7, 1);
  return Array.from({ length: COUNT }, (_, i) => {
    const [what, ...ways] = PROGRAMS[i % PROGRAMS.length];
    const k = draw(2, 9);
    return ways.map((way, j) => {
      const solution = `a = int(input())\nb = ${k}\n${way}`;
      return {
        id: `${i}-${j}`,
        input: `Read a number. Print the ${what} of it and ${k}.`,
        output: `<think>\nRead a. Then the ${what}.\n</think>\n\n\`\`\`python\n${solution}\n\`\`\``,
        source: "sample",
        license: "mit",
        dataset: "sample",
        split: "train",
        difficulty: "EASY",
        solution,
      };
    });
  }).flat();
}

/** Rows with the columns of open-rs's data sets. */
const mathematics = (): Row[] =>
  problems().map(({ question, steps, result }) => ({
    problem: question,
    solution: `${working(steps)}\nThe answer is $\\boxed{${result}}$.`,
    answer: String(result),
    level: "Easy",
  }));

const gsm8k = (): Row[] => problems().map(({ question, answer }) => ({ question, answer }));

const limo = (): Row[] =>
  problems().map(({ question, steps, result }) => ({ question, solution: working(steps), answer: String(result) }));

/** Conversations of two turns with Capybara's columns. */
const capybara = (): Row[] =>
  problems().map(({ question, steps, result }) => ({
    source: "sample",
    messages: [
      { role: "user", content: question },
      { role: "assistant", content: working(steps) },
      { role: "user", content: "So what is the answer?" },
      { role: "assistant", content: String(result) },
    ],
    num_turns: 2,
  }));

const SETS: Readonly<Record<string, () => Row[]>> = {
  gsm8k,
  "openai/gsm8k": gsm8k,
  limo,
  "GAIR/LIMO": limo,
  opencodereasoning: programs,
  "nvidia/OpenCodeReasoning": programs,
  "Naholav/CodeGen-Deep-5K": programs,
  "Naholav/CodeGen-Diverse-5K": programs,
  "trl-lib/Capybara": capybara,
  "knoveleng/open-rs": mathematics,
  "knoveleng/open-s1": mathematics,
};

/**
 * A few made-up rows with a data set's own columns, for a dry run of a recipe.
 *
 * @throws {NotFoundError} a data set without sample rows; the message lists those with sample rows
 */
export function sampleRows(dataset: string | null): Row[] {
  if (dataset === null || !Object.hasOwn(SETS, dataset)) {
    throw new NotFoundError(
      `Cannot dry-run on ${dataset ?? "no data set"}: there are sample rows for ${Object.keys(SETS).join(", ")}`,
    );
  }
  return SETS[dataset]();
}
