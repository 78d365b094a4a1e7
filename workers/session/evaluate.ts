import type { Evaluation, Job, RunEvent } from "../../src/client/types.ts";
import type { RowImage } from "../../src/data/row-error.ts";
import type { Tokenizer } from "../../src/data/tokenizer.ts";
import type { Transformer } from "../../src/model/transformer.ts";
import { heldOutProblems, solveHeldOut } from "../../src/session/evaluate.ts";
import type { Images } from "../../src/session/images.ts";
import type { Library } from "./library.ts";
import { asProgress } from "./phase.ts";
import { phaseRecipe } from "./recipes.ts";
import { reporting } from "./reporting.ts";

/** Largest answer in tokens if no phase sets a completion length. */
const ANSWER_TOKENS = 256;

interface EvaluateInput {
  job: Job;
  library: Library;
  tokenizer: Tokenizer;
  /** opens images of rows; null: the model has no vision tower */
  images: Images | null;
  signal: AbortSignal;
  stage: Evaluation["stage"];
  phase: number;
}

/** Has a model answer a job's held-out problems greedily. @throws {DataError} a row has no question or answer */
export async function* evaluate(
  model: Transformer,
  { job, library, tokenizer, images, signal, stage, phase }: EvaluateInput,
): AsyncGenerator<Extract<RunEvent, { type: "progress" }>, Evaluation> {
  const recipes = job.phases.map((_, i) => phaseRecipe(job, i));
  const system_prompt = recipes.findLast(({ recipe }) => recipe.system_prompt !== null)?.recipe.system_prompt ?? null;
  const lengths = recipes.flatMap(({ recipe }) =>
    "max_completion_length" in recipe ? [recipe.max_completion_length] : [],
  );
  const max_new_tokens = lengths.at(-1) ?? ANSWER_TOKENS;
  return yield* reporting(async (report) => {
    const { data, problems: count } = job.evaluate!;
    const rows = await library.openRows(data, "test", { signal, report: asProgress(report, "bytes") });
    const problems = await heldOutProblems(images ? images.rows(rows) : rows, count, system_prompt);
    const solved = asProgress(report, "problems");
    const onProgress = (done: number, total: number) => solved("held-out problems", done, total);
    const see = images && ((shown: readonly RowImage[]) => images.seen(model, { images: shown }));
    const options = { max_new_tokens, signal, onProgress, ...(see && { see }) };
    const result = await solveHeldOut(model, tokenizer, problems, options);
    return { stage, phase, ...result };
  });
}
