import { extractCode } from "../rewards/code/extract.ts";
import { type CodeOutcome, outcomeOf } from "../rewards/code/outcome.ts";
import type { CodeExecutor } from "../rewards/code/pool.ts";
import type { CodeTask } from "../rewards/code/tests.ts";
import { type GradeOptions, grade, mathsEqual } from "../rewards/maths/grade.ts";
import type { EvalRecord } from "./results.ts";

/** A problem to evaluate a model on. */
export interface EvalProblem extends Pick<EvalRecord, "problem" | "difficulty" | "solution" | "url"> {
  global_id: number;
  original_id: string;
  source_dataset: string;
  /** null if tests decide */
  ground_truth: string | null;
  /** null if the answer decides */
  tests: Omit<CodeTask, "code"> | null;
  prompt_ids: readonly number[];
}

/** A model's responses to a problem. Lists hold one value per response. */
export type Written = Pick<EvalRecord, "responses" | "completion_tokens" | "finish_reasons">;

/** The grades of a problem's responses. Lists hold one value per response. */
export type Verdicts = Pick<EvalRecord, "extracted_answers" | "correct_responses" | "outcomes" | "passed_tests">;

export interface Graders {
  grading: GradeOptions;
  /** runs programs; opened before the first program runs */
  executor: () => CodeExecutor;
  signal?: AbortSignal;
}

/**
 * Grades a problem's responses: by mathematical equality with the answer, or by running each response's program on the tests.
 *
 * @throws {AbortError} the signal was aborted while programs were running
 */
export async function judge(
  { ground_truth, tests }: Pick<EvalProblem, "ground_truth" | "tests">,
  responses: readonly string[],
  { grading, executor, signal }: Graders,
): Promise<Verdicts> {
  if (tests === null) {
    const grades = responses.map((response) => grade(ground_truth ?? "", response, grading));
    return {
      extracted_answers: grades.map(({ pred }) => pred),
      correct_responses: grades.map(({ equal }) => equal),
    };
  }
  const extracted_answers = responses.map(extractCode);
  const runs = await Promise.all(
    extracted_answers.map(async (code): Promise<{ outcome: CodeOutcome; passed: number }> => {
      if (code === null) return { outcome: "syntax_error", passed: 0 };
      const results = await executor().run({ ...tests, code }, signal);
      return { outcome: outcomeOf(results), passed: results.filter(({ outcome }) => outcome === "passed").length };
    }),
  );
  return {
    extracted_answers,
    correct_responses: runs.map(({ outcome }) => outcome === "passed"),
    outcomes: runs.map(({ outcome }) => outcome),
    passed_tests: runs.map(({ passed }) => passed),
  };
}

/** The answer that most responses agree on, by mathematical equality, and whether it is correct. */
export function majority(
  answers: readonly (string | null)[],
  correct: readonly boolean[],
): { answer: string | null; correct: boolean } {
  const camps: { answer: string; correct: boolean; texts: Set<string>; votes: number }[] = [];
  answers.forEach((answer, i) => {
    if (answer === null) return;
    const camp =
      camps.find(({ texts }) => texts.has(answer)) ?? camps.find((other) => mathsEqual(other.answer, answer));
    if (camp) {
      camp.texts.add(answer);
      camp.votes++;
    } else camps.push({ answer, correct: correct[i], texts: new Set([answer]), votes: 1 });
  });
  if (camps.length === 0) return { answer: null, correct: false };
  const first = camps.reduce((best, camp) => (camp.votes > best.votes ? camp : best));
  return { answer: first.answer, correct: first.correct };
}

/** A problem's record for the evaluation's file. */
export function recordOf(problem: EvalProblem, written: Written, verdicts: Verdicts): EvalRecord {
  const { global_id, original_id, source_dataset, ground_truth, tests, difficulty, solution, url } = problem;
  const { responses, completion_tokens, finish_reasons } = written;
  const { extracted_answers, correct_responses, outcomes, passed_tests } = verdicts;
  const n_correct = correct_responses.filter(Boolean).length;
  const most = tests === null ? majority(extracted_answers, correct_responses) : { answer: null, correct: false };
  return {
    global_id,
    original_id,
    source_dataset,
    problem: problem.problem,
    ground_truth,
    responses,
    extracted_answers,
    correct_responses,
    is_correct: n_correct > 0,
    n_correct,
    n_total: responses.length,
    input_tokens: problem.prompt_ids.length,
    output_tokens: completion_tokens.reduce((sum, tokens) => sum + tokens, 0),
    completion_tokens,
    finish_reasons,
    majority_answer: most.answer,
    majority_correct: most.correct,
    ...(tests !== null && { outcomes, passed_tests, n_tests: tests.tests.length }),
    ...(difficulty !== undefined && { difficulty }),
    ...(solution !== undefined && { solution }),
    ...(url !== undefined && { url }),
  };
}

/** A complete response. */
export interface Response {
  /** index of its problem */
  problem: number;
  /** its number among the problem's responses */
  response: number;
  text: string;
  tokens: number;
  finish_reason: "stop" | "length";
}

/** Results to save as they arrive. Responses cost the most time, then programs that run into their time limit. */
interface Keep {
  written(problem: EvalProblem, written: Written): Promise<void>;
  verdicts(problem: EvalProblem, verdicts: Verdicts, record: EvalRecord): Promise<void>;
}

/**
 * Collects each problem's `n` responses, saves them, and grades them while other responses are generated.
 *
 * @throws the first error of generating, saving or grading; earlier responses are saved
 */
export async function evaluate(
  problems: readonly EvalProblem[],
  responses: AsyncIterable<Response>,
  n: number,
  graders: Graders,
  keep: Keep,
): Promise<void> {
  const open = new Map<number, Response[]>();
  const grading: Promise<void>[] = [];
  let failure: { error: unknown } | null = null;
  const graded = async (problem: EvalProblem, written: Written) => {
    const verdicts = await judge(problem, written.responses, graders);
    await keep.verdicts(problem, verdicts, recordOf(problem, written, verdicts));
  };
  const failed = (error: unknown) => void (failure ??= { error });
  try {
    for await (const response of responses) {
      const own = open.get(response.problem) ?? [];
      own[response.response] = response;
      open.set(response.problem, own);
      if (Object.keys(own).length < n) continue;
      open.delete(response.problem);
      const written: Written = {
        responses: own.map(({ text }) => text),
        completion_tokens: own.map(({ tokens }) => tokens),
        finish_reasons: own.map(({ finish_reason }) => finish_reason),
      };
      const problem = problems[response.problem];
      await keep.written(problem, written);
      grading.push(graded(problem, written).catch(failed));
      if (failure) break;
    }
  } catch (error) {
    failed(error);
  }
  await Promise.all(grading);
  if (failure) throw (failure as { error: unknown }).error;
}
