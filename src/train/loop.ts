import { AbortError } from "../errors.ts";
import type { Trainee } from "./checkpoint.ts";
import { type LoopRecipe, LoopState } from "./loop-state.ts";
import type { StepResult, TrainEvent, TrainingMethod, TrainOptions } from "./method.ts";

/**
 * The training loop of every method: resume, steps, logs, evaluation, checkpoints, best checkpoint, result.
 *
 * Each step's numbers are read one step late, so the queue never runs dry. Stops at a step boundary when `signal` fires:
 * saves a checkpoint, then throws AbortError. A checkpoint holds all state of its method, so that a resumed run
 * gives the same numbers as an uninterrupted run.
 *
 * @param method the learning algorithm; create a new object for each run
 * @throws {DataError} the checkpoint was trained on other data
 * @throws {TrainingError} a loss or gradient is not finite: the step changed nothing, the last checkpoint is intact
 * @throws {AbortError} the signal fired
 */
export async function* train<E, R extends StepResult>(
  trainee: Trainee,
  method: TrainingMethod<E, R>,
  recipe: LoopRecipe,
  options: TrainOptions,
): AsyncGenerator<TrainEvent | E> {
  const run = new LoopState(trainee, method, recipe, options);
  const { max_steps } = method.batches;
  if (options.resume) await run.restore(options.resume);
  yield { type: "start", max_steps, global_step: run.global_step };
  await run.begin();
  // a run that resumes has had its first evaluation
  if (recipe.eval_on_start && method.evaluates && run.global_step === 0) {
    yield { type: "eval", record: await run.measure() };
  }

  for (let step = run.global_step; step < max_steps; step++) {
    const begun = method.step(run.contextOf(step));
    const { result } = "result" in begun ? begun : yield* begun;
    result.catch(() => {}); // awaited later; a rejection before that must not end the process
    yield* run.settle();
    run.submitted(result);
    await trainee.model.gpu.pace.known();

    const done = step + 1;
    const due = run.due(done);
    const stop = options.signal?.aborted === true && !due.last;
    if (!due.evaluate && !due.save && !stop && !due.last) continue;
    yield* run.settle();
    let [improved, early] = [false, null as string | null];
    if (due.evaluate && (!stop || method.evaluatesBeforeStop)) {
      const measured = await run.evaluate();
      improved = measured.improved;
      early = due.last ? null : measured.stop;
      yield { type: "eval", record: measured.record };
    }
    if (improved && due.save) run.keepAsBest(done);
    if (due.save || (stop && run.saved < done)) yield* run.save();
    if (stop) throw new AbortError(run.stoppedText());
    if (early) {
      yield { type: "note", text: early };
      break;
    }
  }
  yield* run.settle();

  if (recipe.load_best_model_at_end) yield* run.loadBest();
  yield { type: "end", record: await run.finish() };
}
