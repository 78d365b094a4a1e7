import type { Evaluation, Job, RunEvent } from "../../src/client/types.ts";
import type { Message } from "../../src/data/chat-template.ts";
import { type NumberedRow, parsePrompt, rowError } from "../../src/data/rows.ts";
import type { Tokenizer } from "../../src/data/tokenizer.ts";
import { DataError } from "../../src/errors.ts";
import { type Problem, solve } from "../../src/eval/solve.ts";
import type { Transformer } from "../../src/model/transformer.ts";
import { goldAnswer } from "../../src/rewards/answers.ts";
import { finalAnswer } from "../../src/rewards/final-answer.ts";
import { slotsFor } from "../../src/train/grpo/rollout.ts";
import type { Library } from "./library.ts";
import { asProgress } from "./phase.ts";
import { phaseRecipe } from "./recipes.ts";
import { reporting } from "./reporting.ts";

/** Tokens of an answer where no phase says how long completions are. */
const ANSWER_TOKENS = 256;

export interface EvaluateInput {
  job: Job;
  library: Library;
  tokenizer: Tokenizer;
  signal: AbortSignal;
  stage: Evaluation["stage"];
  phase: number;
}

/** Lets a model answer the held-out problems of a job, greedily. @throws {DataError} a row without question or answer */
export async function* evaluate(
  model: Transformer,
  { job, library, tokenizer, signal, stage, phase }: EvaluateInput,
): AsyncGenerator<Extract<RunEvent, { type: "progress" }>, Evaluation> {
  const recipes = job.phases.map((_, i) => phaseRecipe(job, i));
  const system_prompt = recipes.findLast(({ recipe }) => recipe.system_prompt !== null)?.recipe.system_prompt ?? null;
  const drawn = recipes.findLast((made) => made.method === "grpo");
  const max_new_tokens = drawn?.method === "grpo" ? drawn.recipe.max_completion_length : ANSWER_TOKENS;
  return yield* reporting(async (report) => {
    const { data, problems: count } = job.evaluate!;
    const problems: Problem[] = [];
    for await (const row of await library.openRows(data, "test", { signal, report: asProgress(report, "bytes") })) {
      problems.push(problemOf(row, system_prompt));
      if (problems.length >= count) break;
    }
    if (problems.length === 0) throw new DataError("Cannot evaluate: there are no held-out problems");
    const longest = Math.max(
      ...problems.map(({ prompt }) => prompt.reduce((n, { content }) => n + String(content).length, 64)),
    );
    const solved = await solve(model, tokenizer, problems, {
      max_new_tokens,
      slots: slotsFor(model, problems.length, longest + max_new_tokens), // characters stand for tokens: never too few
      signal,
      onProgress: (done, total) =>
        report({ type: "progress", what: "held-out problems", done, total, unit: "problems" }),
    });
    const made = problems.map((problem, i) => ({
      question: String(problem.prompt.at(-1)!.content),
      gold: goldAnswer({ answer: problem.answer }),
      completion: solved[i].completions[0],
      answer: finalAnswer(solved[i].completions[0]) ?? "",
      correct: solved[i].right[0],
    }));
    return { stage, phase, accuracy: made.filter(({ correct }) => correct).length / made.length, problems: made };
  });
}

function problemOf(source: NumberedRow, system_prompt: string | null): Problem {
  const { prompt } = parsePrompt(source, { system_prompt });
  const { answer } = source.row;
  if (typeof answer !== "string" && typeof answer !== "number") {
    throw rowError(
      source,
      `held-out problems are graded by their column answer, and the row has ${Object.keys(source.row).join(", ")}`,
    );
  }
  const messages: Message[] = typeof prompt === "string" ? [{ role: "user", content: prompt }] : prompt;
  return { prompt: messages, answer: String(answer) };
}
