import { existsSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { AbortError, DataError } from "../../errors.ts";
import {
  type EvalProblem,
  evaluate,
  type Graders,
  judge,
  type Response,
  recordOf,
  type Verdicts,
  type Written,
} from "../../eval/evaluate.ts";
import type { EvalRecord, EvalResults } from "../../eval/results.ts";
import { resultsOf } from "../../eval/summary.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import { renderEvaluation } from "../../report/evaluation.ts";
import type { CodePool } from "../../rewards/code/pool.ts";
import { loadText, type PreparedText, respond, type TextModel } from "../../session/generate.ts";
import { holding } from "../../session/hold.ts";
import { compactJson } from "../../text/python-json.ts";
import { type ParsedArgs, UsageError } from "../args.ts";
import { EMBEDDED_SET, type EvalRequest, readEvalRequests } from "../flags/eval-flags.ts";
import { fingerprint, openPartial, type PartialEval } from "../runs/eval-partial.ts";
import { checkOutput, checkReplaced } from "../runs/generate-rows.ts";
import { openCodePool } from "../sources/code.ts";
import { EMBEDDED_ANSWER_TOKENS } from "../sources/embedded.ts";
import { embeddedModelFolder } from "../sources/embedded-folder.ts";
import { readProblems } from "../sources/eval-data.ts";
import { type OpenedText, openText } from "../sources/text-model.ts";
import { EvalProgress, resultsTable } from "../terminal/eval-text.ts";
import { EXIT_INTERRUPTED, interruptible } from "../terminal/interrupt.ts";
import { statusLine } from "../terminal/status-line.ts";
import { packageVersion } from "../version.ts";
import { runEvalOcr } from "./eval-ocr.ts";

export { EVAL_FLAGS } from "../flags/eval-flags.ts";

/** Default length of a response in tokens. */
const MAX_TOKENS = 2048;

/** `qwench eval`: generates and grades responses to a data set's problems. @returns the exit code */
export async function runEval(args: ParsedArgs): Promise<number> {
  if (args.positional[0] === "ocr") return runEvalOcr(args);
  const requests = readEvalRequests(args);
  if (requests.length === 1) checkOutput(requests[0].output, requests[0].overwrite);
  return interruptible(async (signal) => {
    for (const asked of requests) {
      if (
        requests.length > 1 &&
        !asked.overwrite &&
        existsSync(asked.output) &&
        !existsSync(`${asked.output}.partial`)
      ) {
        console.error(`${asked.output} exists; skipped`);
        continue;
      }
      const code = await evaluateModel(asked, signal);
      if (code !== 0) return code;
    }
    return 0;
  });
}

/** Evaluates a model while holding a lock on the results. */
function evaluateModel(asked: EvalRequest, signal: AbortSignal): Promise<number> {
  const { output } = asked;
  const folder = nodeFolder(dirname(resolve(output)));
  const claim = { name: basename(output), what: `write ${output}`, instead: "name another --output" };
  return holding({ folder, ...claim }, () => openAndEvaluate(asked, signal));
}

async function openAndEvaluate(asked: EvalRequest, signal: AbortSignal): Promise<number> {
  const status = statusLine();
  const opened = await openText(asked.model, signal, status);
  try {
    return await evaluateOpened(asked, opened, signal, status);
  } finally {
    // frees memory for the next checkpoint's weights; after a lost device, there is none, and the error is already known
    await opened.sources.gpu.clear().catch(() => undefined);
  }
}

async function evaluateOpened(
  asked: EvalRequest,
  { prepared, sources, hub }: OpenedText,
  signal: AbortSignal,
  status: (line: string | null) => void,
): Promise<number> {
  const { model: request, n, stop, output } = asked;
  const embedded = sources.model.path === embeddedModelFolder();
  if (!asked.named && !embedded) {
    throw new UsageError(
      `Name a data set: ${EMBEDDED_SET}'s problems are for the embedded model, not ${sources.model.path}`,
    );
  }
  const max_tokens = maxTokens(asked, prepared);
  const { dataset, problems, tooLong } = await readProblems(asked, prepared, sources.model, hub);
  status(null);
  tellLimits(problems, tooLong, max_tokens, prepared);
  const settings = { ...asked.settings, max_new_tokens: max_tokens };
  const partial = await openPartial(output, {
    generation: {
      model: sources.model.path,
      model_files: await fingerprint(sources.model),
      adapter: sources.adapter?.path ?? null,
      adapter_files: sources.adapter ? await fingerprint(sources.adapter) : null,
      dtype: request.dtype,
      quantization: request.quantization,
      ...settings,
      n,
      stop,
      eos_token_ids: prepared.eos_token_ids,
    },
    grading: { ...asked.grading },
    problems,
    n,
  });
  for (const { global_id } of tooLong) partial.written.set(global_id, unwritten(n));

  const kept = problems.filter(({ global_id }) => partial.written.has(global_id) && partial.verdicts.has(global_id));
  checkReplaced(output, asked.overwrite, kept.length === problems.length);
  let pool: CodePool | null = null;
  const graders = { grading: asked.grading, executor: () => (pool ??= openCodePool()), signal };
  try {
    const left = problems.filter(({ global_id }) => !partial.written.has(global_id));
    if (partial.written.size > tooLong.length) {
      console.error(`Continuing after ${problems.length - left.length} of ${problems.length} problems`);
    }
    await gradeKept(problems, partial, graders, status);
    if (left.length > 0) {
      const text = await loadText(prepared, sources);
      status(null);
      const progress = new EvalProgress(left.length, n, status);
      const answers = responsesTo(left, text, asked, max_tokens, signal, progress);
      const keep = {
        written: ({ global_id }: EvalProblem, written: Written) => partial.addWritten(global_id, written),
        async verdicts({ global_id }: EvalProblem, verdicts: Verdicts, record: EvalRecord) {
          await partial.addVerdicts(global_id, verdicts);
          progress.graded(record);
        },
      };
      try {
        await evaluate(left, answers, n, graders, keep);
      } finally {
        progress.end();
      }
    }
  } catch (error) {
    status(null);
    const kept = problems.filter(({ global_id }) => partial.written.has(global_id)).length;
    console.error(
      `${kept} of ${problems.length} problems are in ${output}.partial; the same command continues from there`,
    );
    if (!(error instanceof AbortError)) throw error;
    return EXIT_INTERRUPTED;
  } finally {
    await (pool as CodePool | null)?.end();
  }

  const records = problems.map((problem) => {
    const { global_id: id } = problem;
    return recordOf(problem, partial.written.get(id)!, partial.verdicts.get(id)!);
  });
  const { temperature, top_p, top_k, seed } = settings;
  const named = {
    model_type: asked.name,
    dataset,
    model_name_or_path: request.model ?? (embedded ? EMBEDDED_SET : sources.model.path),
    adapter_name_or_path: request.adapter,
    qwench_version: packageVersion(),
  };
  const drawn = { temperature, n_sampling: n, max_tokens, top_p, top_k, seed };
  const results = resultsOf(records, { ...named, ...drawn }, asked.ks);
  const report = await save(output, results, records);
  await partial.remove();
  if (asked.json) console.log(JSON.stringify(results, null, 2));
  else console.log(resultsTable(results, process.stdout.columns || undefined));
  console.error(`Results and records: ${output}, report: ${report}`);
  return 0;
}

/** @throws {UsageError} the value exceeds the model's positions */
function maxTokens({ settings, named, dataset }: EvalRequest, { config }: PreparedText): number {
  const { max_position_embeddings: positions } = config;
  const asked = settings.max_new_tokens;
  if (asked !== null && asked >= positions) {
    throw new UsageError(
      `--max_tokens must be below the model's ${positions} positions (max_position_embeddings), which prompt and response share, got ${asked}`,
    );
  }
  const usual = !named || dataset === EMBEDDED_SET ? EMBEDDED_ANSWER_TOKENS : MAX_TOKENS;
  return asked ?? Math.min(usual, positions - 1);
}

function tellLimits(
  problems: readonly EvalProblem[],
  tooLong: readonly EvalProblem[],
  max_tokens: number,
  { config }: PreparedText,
): void {
  const { max_position_embeddings: positions } = config;
  if (tooLong.length === problems.length) {
    throw new DataError(`None of the ${problems.length} problems fits into the model's ${positions} positions`);
  }
  const said = (count: number) => `${count} of ${problems.length} problems`;
  if (tooLong.length > 0) {
    console.error(
      `note: ${said(tooLong.length)} are too long for the model's ${positions} positions: counted as not solved`,
    );
  }
  const cut = problems.filter(({ prompt_ids }) => prompt_ids.length + max_tokens > positions).length - tooLong.length;
  if (cut > 0 && max_tokens < positions - 1) {
    console.error(
      `note: ${said(cut)} reach the model's ${positions} positions before a response has ${max_tokens} tokens`,
    );
  }
}

/** Placeholder responses for a problem that is too long for the model. */
function unwritten(n: number): Written {
  const all = <T>(value: T): T[] => new Array(n).fill(value);
  return { responses: all(""), completion_tokens: all(0), finish_reasons: all("length" as const) };
}

/** Grades responses of an earlier run. */
async function gradeKept(
  problems: readonly EvalProblem[],
  partial: PartialEval,
  graders: Graders,
  status: (line: string | null) => void,
): Promise<void> {
  const ungraded = problems.filter(({ global_id: id }) => partial.written.has(id) && !partial.verdicts.has(id));
  let graded = 0;
  await Promise.all(
    ungraded.map(async (problem) => {
      const { responses } = partial.written.get(problem.global_id)!;
      await partial.addVerdicts(problem.global_id, await judge(problem, responses, graders));
      status(`${++graded}/${ungraded.length} problems graded`);
    }),
  );
  status(null);
}

async function* responsesTo(
  problems: readonly EvalProblem[],
  text: TextModel,
  { settings, n, stop, slots }: EvalRequest,
  max_new_tokens: number,
  signal: AbortSignal,
  progress: EvalProgress,
): AsyncGenerator<Response> {
  // sampling depends on (seed, global_id, number of the response), so a resumed run generates the same responses
  const prompts = problems.map(({ prompt_ids, global_id }) => ({ prompt_ids, number: global_id }));
  const options = { ...settings, max_new_tokens, n, stop, slots: slots ?? undefined, signal };
  for await (const event of respond(text, prompts, options)) {
    if (event.type === "text") progress.tokens(event.tokens);
    else {
      const { text: written, ids, finish_reason } = event.made;
      progress.ended();
      yield { problem: event.prompt, response: event.response, text: written, tokens: ids.length, finish_reason };
    }
  }
}

/** Writes the report, then the results file, which marks the evaluation as complete. @returns the report's path */
async function save(output: string, results: EvalResults, records: readonly EvalRecord[]): Promise<string> {
  const folder = nodeFolder(dirname(resolve(output)));
  const name = basename(output);
  const report = `${name.replace(/\.json$/, "")}.report.html`;
  await folder.write(report, renderEvaluation(results, records));
  await folder.write(name, fileOf(results, records));
  return output.slice(0, output.length - name.length) + report;
}

/** The file in pieces, one line per record, because the whole may exceed the longest string. */
async function* fileOf(results: EvalResults, records: readonly EvalRecord[]): AsyncGenerator<Uint8Array> {
  const bytes = (text: string) => new TextEncoder().encode(text);
  yield bytes(`{\n"results": ${JSON.stringify(results, null, 2)},\n"records": {`);
  for (const [i, record] of records.entries()) {
    yield bytes(`${i > 0 ? "," : ""}\n${JSON.stringify(String(record.global_id))}: ${compactJson(record)}`);
  }
  yield bytes("\n}\n}\n");
}
