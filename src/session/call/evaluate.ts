import { DATA_SETS, dataSetNamed, readDataSet } from "../../data/sets/registry.ts";
import { DataError, RecipeError } from "../../errors.ts";
import {
  type EvalProblem,
  evaluate as evaluateAll,
  type Response,
  recordOf,
  type Verdicts,
  type Written,
} from "../../eval/evaluate.ts";
import type { EvalRecord, EvalResults } from "../../eval/results.ts";
import { resultsOf } from "../../eval/summary.ts";
import type { CodePool } from "../../rewards/code/pool.ts";
import type { GradeOptions } from "../../rewards/maths/grade.ts";
import { respond, settingsOf, type TextModel, type TextSettings } from "../generate.ts";
import { PROBLEM_ROWS, problemOf } from "../problems.ts";
import { type CallHost, type CallProgress, currentHost, type RowFields } from "./host.ts";
import { type DataInput, dataName, inputName, openRowsInput } from "./inputs.ts";
import { Narrator, stoppable } from "./narrator.ts";
import { type ModelCall, type OpenedText, openText } from "./text.ts";

/** What to evaluate. The defaults are greedy decoding with one response per problem. */
export interface EvaluateCall extends ModelCall, Partial<Omit<TextSettings, "seed" | "max_new_tokens">> {
  /** problems: a data set that Qwench knows, such as `gsm8k`, or rows with a question, and an answer or tests */
  data: DataInput;
  /** of a named data set; default `test` */
  split?: string;
  /** configuration of a data set on the hub */
  config?: string;
  /** use only the first problems */
  limit?: number;
  /** system message of questions without one */
  system?: string;
  /** text around a question, in which `{problem}` stands for it */
  template?: string;
  /** responses per problem; default 1 */
  n?: number;
  /** the k of each pass@k, each at most `n`; default 1 and `n` */
  k?: readonly number[];
  /** longest response in tokens; default 2048, or what the model's positions leave */
  max_tokens?: number;
  /** u32; default 0 */
  seed?: number;
  /** texts that end a response */
  stop?: readonly string[];
  /** how answers are found and compared */
  grading?: GradeOptions;
  /** the model's name in the results; default: the adapter's or the model's */
  name?: string;
}

/** Events of a call of `evaluate`. */
export type EvaluateEvent =
  | CallProgress
  | { type: "note"; text: string }
  /** a problem whose responses are graded; `done` of `total` */
  | { type: "problem"; record: EvalRecord; done: number; total: number }
  /** the file of `qwench eval` is `{ results, records }`, with the records by `global_id` */
  | { type: "end"; results: EvalResults; records: EvalRecord[] };

const MAX_TOKENS = 2048;

/**
 * Evaluates a model by one call: it answers each problem `n` times, the answers are graded (by mathematical equality, or by
 * running programs on tests), and the results are pass@k, the majority vote and the lengths.
 *
 * @throws {DataError} a row lacks a question, or both an answer and tests; there are no problems
 * @throws {RecipeError} a k exceeds n
 * @throws {MemoryError} the weights do not fit
 * @throws {AbortError} `signal` fired
 */
export function evaluate(call: EvaluateCall): AsyncGenerator<EvaluateEvent, void> {
  return stoppable(call.signal, (signal) => run(currentHost(), call, signal));
}

async function* run(host: CallHost, call: EvaluateCall, signal: AbortSignal): AsyncGenerator<EvaluateEvent> {
  const narrator = new Narrator();
  const { n = 1 } = call;
  const ks = call.k ?? [...new Set([1, n])];
  const high = ks.find((k) => !(Number.isInteger(k) && k >= 1 && k <= n));
  if (high !== undefined) throw new RecipeError(`k must be integers from 1 to n (${n}), got ${high}`);
  const opened = yield* openText(host, call, signal, narrator);
  const { gpu, prepared } = opened;
  let pool: CodePool | null = null;
  try {
    const { dataset, problems } = yield* narrator.during(read(host, call, opened, narrator, signal));
    const positions = prepared.config.max_position_embeddings;
    const max_tokens = Math.min(call.max_tokens ?? MAX_TOKENS, positions - 1);
    const fitting = problems.filter(({ prompt_ids }) => prompt_ids.length < positions);
    if (fitting.length === 0) throw new DataError(`None of the problems fits into the model's ${positions} positions`);
    const left = problems.length - fitting.length;
    if (left > 0) {
      yield {
        type: "note",
        text: `${left} of ${problems.length} problems are too long for the model: counted as not solved`,
      };
    }
    const text = yield* narrator.during(opened.load());
    const records = new Map<number, EvalRecord>();
    for (const problem of problems)
      if (!fitting.includes(problem)) records.set(problem.global_id, unsolved(problem, n));
    const settings = {
      ...settingsOf(prepared.defaults, { temperature: 0, ...call }, call.seed ?? 0),
      max_new_tokens: max_tokens,
    };
    const graders = {
      grading: call.grading ?? {},
      executor: () => (pool ??= host.rewards.openCodePool({})),
      signal,
    };
    const graded: EvalRecord[] = [];
    let wake = () => {};
    const keep = {
      async written() {},
      async verdicts(_problem: EvalProblem, _verdicts: Verdicts, record: EvalRecord) {
        graded.push(record);
        wake();
      },
    };
    const answers = responsesTo(text, fitting, { ...settings, n, stop: call.stop, signal });
    let ended = false;
    const work = evaluateAll(fitting, answers, n, graders, keep).finally(() => {
      ended = true;
      wake();
    });
    work.catch(() => {}); // awaited below
    while (!ended || graded.length > 0) {
      for (const record of graded.splice(0)) {
        records.set(record.global_id, record);
        yield { type: "problem", record, done: records.size, total: problems.length };
      }
      if (!ended) {
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (ended || graded.length > 0) resolve();
        });
      }
    }
    await work;
    const all = problems.map(({ global_id }) => records.get(global_id)!);
    const { temperature, top_p, top_k, seed } = settings;
    const drawn = { temperature, n_sampling: n, max_tokens, top_p, top_k, seed };
    yield {
      type: "end",
      results: resultsOf(all, { ...namesOf(call, opened, dataset, host.version), ...drawn }, ks),
      records: all,
    };
  } finally {
    await (pool as CodePool | null)?.end();
    await gpu.clear().catch(() => {}); // a lost device has said so already
  }
}

function namesOf({ model, adapter, name }: EvaluateCall, opened: OpenedText, dataset: string, version: string) {
  const base = model === undefined ? opened.model.path : inputName(model);
  const put = adapter === undefined ? null : inputName(adapter);
  return {
    model_type: name ?? (put ?? base).split(/[\\/]/).at(-1)!,
    dataset,
    model_name_or_path: base,
    adapter_name_or_path: put,
    qwench_version: version,
  };
}

/** Reads the problems, and tokenises their prompts. */
async function read(
  host: CallHost,
  call: EvaluateCall,
  { prepared, model }: OpenedText,
  { report }: Narrator,
  signal: AbortSignal,
): Promise<{ dataset: string; problems: EvalProblem[] }> {
  const { data, split = "test", config = null, limit, system = null, template = null } = call;
  if (prepared.chat_template === null) {
    throw new DataError(`Cannot ask ${model.path}: its tokenizer has no chat template; give a chat_template`);
  }
  const options = {
    ...(limit !== undefined && { limit }),
    ...(template !== null && { template }),
    system_prompt: system,
  };
  const name = dataName(data);
  const known = name !== null && Object.hasOwn(DATA_SETS, name);
  const fields = known
    ? {
        dataset_config: config,
        dataset_format: name as RowFields["dataset_format"],
        dataset_options: options,
        system_prompt: system,
      }
    : { dataset_config: config, system_prompt: null };
  const rows = await openRowsInput(host, data, { split, fields, model }, { signal, report });
  const dataset = known
    ? dataSetNamed(name).name
    : (name
        ?.split(/[\\/]/)
        .at(-1)
        ?.replace(/\.\w+(\.gz)?$/, "") ?? "data");
  const source = known ? rows : readDataSet({ ...PROBLEM_ROWS, name: dataset }, [{ name: dataset, rows }], options);
  const problems: EvalProblem[] = [];
  for await (const row of source) {
    signal.throwIfAborted();
    problems.push(problemOf(row, prepared, { system, template }));
    report("problems", problems.length, null, "rows");
  }
  if (problems.length === 0) throw new DataError(`There are no problems to evaluate: ${dataset} has no rows`);
  return { dataset, problems };
}

/** The record of a problem that is too long for the model. */
function unsolved(problem: EvalProblem, n: number): EvalRecord {
  const each = <T>(value: T): T[] => new Array(n).fill(value);
  const written: Written = { responses: each(""), completion_tokens: each(0), finish_reasons: each("length" as const) };
  return recordOf(problem, written, { extracted_answers: each(null), correct_responses: each(false) });
}

/** Sampling depends on the seed, the problem's id and the response's number only. */
async function* responsesTo(
  text: TextModel,
  problems: readonly EvalProblem[],
  options: Parameters<typeof respond>[2],
): AsyncGenerator<Response> {
  const prompts = problems.map(({ prompt_ids, global_id }) => ({ prompt_ids, number: global_id }));
  for await (const event of respond(text, prompts, options)) {
    if (event.type === "text") continue;
    const { text: written, ids, finish_reason } = event.made;
    yield { problem: event.prompt, response: event.response, text: written, tokens: ids.length, finish_reason };
  }
}
