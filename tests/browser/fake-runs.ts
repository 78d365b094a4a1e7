import type {
  CompletionRecord,
  Evaluation,
  Job,
  LogRecord,
  Method,
  PhasePlan,
  RunEvent,
  RunRecord,
  SolvedProblem,
} from "../../src/client/types.ts";
import { type WordProblem, wordProblems, working, xmlCompletion } from "../../src/data/sets/word-problems.ts";
import { GSM8K_REWARDS } from "../../src/rewards/registry.ts";
import { nameOfData, nameOfModel } from "../../workers/session/recipes.ts";

// What a fake trainer tells: curves, completions and evaluations that look as a real run's do, from the step alone.

/** A model answer that would run as a script if any part of the page took it for HTML. */
export const HOSTILE = `<img src=x onerror="document.title='owned'"> <script>document.title='owned'</script> 17`;

/** Milliseconds of a step, and what befalls the run. */
export interface Script {
  step: number;
  /** throws this at step 4 of the last phase */
  fault: Error | null;
  /** calls it there instead */
  onFault: (() => void) | null;
  /** milliseconds of a step, where it is not `step`: a run can wait for a test to act */
  pace?: (phase: number, step: number) => number;
}

const SAVE_EVERY = 5;

const noise = (n: number) => {
  const x = Math.sin(n * 127.1) * 43758.5453;
  return x - Math.floor(x) - 0.5;
};
const grown = (step: number, of: number) => 1 / (1 + Math.exp(-7 * (step / of - 0.45)));

export function planOf(method: Method, recipe: Record<string, unknown>): PhasePlan {
  const steps = Number(recipe.max_steps ?? 60);
  const byKind: Record<string, number> =
    method === "sft"
      ? { weights: 1.9e6, adapter: 0.5e6, optimizer: 1.1e6, activations: 9.6e6, scratch: 3.2e6 }
      : { weights: 1.9e6, adapter: 0.5e6, optimizer: 1.1e6, activations: 14.3e6, cache: 22.6e6, scratch: 5.1e6 };
  const peak = Object.values(byKind).reduce((a, b) => a + b);
  return {
    method,
    memory: { peak, byKind },
    trainable: 131_072,
    parameters: 934_528,
    rows: method === "sft" ? 512 : 1024,
    max_steps: steps,
    notes: [],
  };
}

export function newRecord(id: string, job: Job, created = Date.now()): RunRecord {
  return {
    id,
    name: job.name,
    created,
    status: "ready",
    problem: null,
    phase: 0,
    phases: job.phases.map(({ method, recipe }) => ({
      method,
      max_steps: planOf(method, recipe).max_steps,
      global_step: 0,
    })),
    model: nameOfModel(job.model),
    data: nameOfData(job.phases[0].data),
    accuracy: null,
    job,
    recipes: job.phases.map(({ recipe }) =>
      Object.entries(recipe)
        .map(([name, value]) => `${name}: ${JSON.stringify(value)}\n`)
        .join(""),
    ),
    logs: job.phases.map(() => []),
    completions: [],
    evaluations: [],
  };
}

export function logAt(method: Method, step: number, of: number): LogRecord {
  const up = grown(step, of);
  const shared = {
    step,
    learning_rate: 3e-4 * (1 - step / (of + 1)),
    num_tokens: step * 2048,
    epoch: step / of,
    step_time: 0.8 + 0.1 * noise(step),
  };
  if (method === "sft") {
    const loss = 0.35 + 1.9 * Math.exp(-5 * (step / of)) + 0.08 * noise(step);
    return { ...shared, loss, grad_norm: 1.2, mean_token_accuracy: 0.97 - 0.4 * Math.exp(-4 * (step / of)) };
  }
  const right = 0.2 + 1.5 * up + 0.25 * noise(step + 3);
  const form = 0.5 * Math.min(1, 0.3 + up) + 0.02 * noise(step + 7);
  return {
    ...shared,
    loss: 0.02 * noise(step + 11),
    grad_norm: 0.6,
    reward: right + form + 0.4,
    reward_std: 0.5,
    kl: 0.0004 * step * (1 + 0.3 * noise(step)),
    "rewards/xmlcount_reward_func/mean": 0.4 + 0.1 * up,
    "rewards/soft_format_reward_func/mean": form,
    "rewards/strict_format_reward_func/mean": form * 0.9,
    "rewards/int_reward_func/mean": 0.5 * Math.min(1, 0.55 + up * 0.4),
    "rewards/correctness_reward_func/mean": Math.max(0, right),
    "completions/mean_length": 22 + 14 * up + 3 * noise(step + 5),
    "completions/min_length": 14 + 5 * up,
    "completions/max_length": 46 + 8 * noise(step + 9),
  };
}

const guessed = ({ result }: WordProblem, n: number) => xmlCompletion("I guess.", result + 1 + (Math.abs(n) % 9));
const solved = ({ steps, result }: WordProblem) => xmlCompletion(working(steps), result);

export function completionsAt(step: number, of: number): CompletionRecord[] {
  const up = grown(step, of);
  return wordProblems({ seed: step, count: 2, split: "train" }).flatMap((problem, p) => {
    const right = Array.from({ length: 6 }, (_, i) => noise(step * 31 + p * 7 + i) + 0.5 < 0.15 + 0.7 * up);
    const mean = right.filter(Boolean).length / right.length;
    const std = Math.sqrt(mean * (1 - mean)) || 1;
    return right.map((ok, i) => ({
      step,
      prompt: `<|im_start|>user\n${problem.question}<|im_end|>\n<|im_start|>assistant\n`,
      completion: ok ? solved(problem) : i === 5 ? HOSTILE : guessed(problem, i + step),
      rewards: Object.fromEntries(
        GSM8K_REWARDS.map((name) => [name, name.startsWith("correct") ? (ok ? 2 : 0) : i === 5 && !ok ? 0 : 0.5]),
      ),
      advantage: ((ok ? 1 : 0) - mean) / std,
      finish_reason: i === 5 && !ok ? ("length" as const) : ("stop" as const),
      length: ok ? 34 : 22,
      columns: { question: problem.question, answer: problem.answer },
    }));
  });
}

export function evaluationOf(stage: Evaluation["stage"], phase: number, count: number): Evaluation {
  const share = stage === "base" ? 0.12 : stage === "sft" ? 0.22 : 0.68;
  const problems = wordProblems({ seed: 9, count, split: "test" }).map((problem, i): SolvedProblem => {
    const correct = noise(i * 13) + 0.5 < share;
    const completion =
      stage === "base" && i === 1
        ? HOSTILE
        : correct
          ? solved(problem)
          : stage === "base"
            ? `${problem.result + 3}`
            : guessed(problem, i);
    return { question: problem.question, gold: String(problem.result), completion, answer: "", correct };
  });
  const accuracy = problems.filter(({ correct }) => correct).length / count;
  return { stage, phase, accuracy, problems };
}

/** A run from where its record stands, event by event; checkpoints every few steps and when the signal fires. */
export async function* play(
  record: RunRecord,
  script: Script,
  signal: AbortSignal | undefined,
): AsyncGenerator<RunEvent> {
  const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));
  const { job } = record;
  const solve = async function* (stage: Evaluation["stage"], phase: number): AsyncGenerator<RunEvent> {
    if (!job.evaluate || record.evaluations.some((one) => one.stage === stage && one.phase === phase)) return;
    const total = job.evaluate.problems;
    const { problems } = evaluationOf(stage, phase, total);
    for (let done = 0; done <= total; done += 10) {
      for (let index = Math.max(0, done - 10); index < done; index++)
        yield { type: "solved", stage, phase, index, total, problem: problems[index] };
      yield { type: "progress", what: "solving held-out problems", done, total, unit: "problems" };
      await pause(script.step);
    }
    yield { type: "evaluated", evaluation: evaluationOf(stage, phase, total) };
  };
  yield { type: "progress", what: "loading the model", done: 1.2e6, total: 1.9e6, unit: "bytes" };
  await pause(script.step);
  yield { type: "progress", what: "compiling kernels", done: 12, total: 31, unit: "kernels" };
  await pause(script.step);
  yield* solve("base", 0);
  for (let phase = record.phase; phase < record.phases.length; phase++) {
    const { method, global_step } = record.phases[phase];
    const plan = planOf(method, job.phases[phase].recipe);
    let saved = global_step - (global_step % SAVE_EVERY);
    yield { type: "phase", phase, method, max_steps: plan.max_steps, global_step: saved, plan };
    for (let step = saved + 1; step <= plan.max_steps; step++) {
      const ms = script.pace?.(phase, step) ?? script.step;
      if (method === "grpo") {
        for (let done = 0; done < 64; done += 32) {
          yield { type: "progress", what: "drawing completions", done, total: 64, unit: "completions" };
          await pause(ms / 4);
        }
        yield { type: "generated", phase, step, records: completionsAt(step, plan.max_steps) };
      }
      await pause(ms / 2);
      if (step === 4 && phase === record.phases.length - 1) {
        if (script.fault) throw script.fault;
        if (script.onFault) {
          script.onFault();
          await new Promise(() => {});
        }
      }
      const log = logAt(method, step, plan.max_steps);
      yield { type: "step", phase, step, tokens: 2048, loss: log.loss, reward: log.reward ?? null };
      yield { type: "log", phase, record: log };
      if (step === 2 && phase > 0) {
        yield {
          type: "warning",
          text: "Step 2: all completions of each prompt got the same reward, so there is nothing to learn from",
        };
      }
      const stop = signal?.aborted === true;
      if (step % SAVE_EVERY === 0 || step === plan.max_steps || stop) {
        saved = step;
        yield { type: "checkpoint", phase, step };
      }
      if (stop) return;
    }
    yield* solve(method, phase);
  }
  yield { type: "end", seconds: 84 };
}
