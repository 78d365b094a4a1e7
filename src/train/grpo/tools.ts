import type { Message } from "../../data/chat-template.ts";
import type { Tokenizer } from "../../data/tokenizer.ts";
import { parseAssistant, type ToolCall, toolSuffix } from "../../data/tool-calls.ts";
import { TrainingError } from "../../errors.ts";
import type { Generation, GenerationRequest } from "../../model/generate/generate.ts";

/** Functions that the model may call. */
export interface Environment {
  /** JSON schemas, as chat templates take them */
  schemas: readonly unknown[];
  /** names of its functions */
  names: readonly string[];
  /** Calls a function. Rejects if it throws. */
  call(name: string, args: Record<string, unknown>): Promise<unknown>;
}

/** A completion of several turns: the model's words, and between them results of functions. */
interface ToolRun {
  generation: Generation;
  /** [completion] 1 for tokens of the model, 0 for those of results */
  tool_mask: Uint8Array;
  /** turns of the assistant and of tools */
  messages: Message[];
}

/** How calls are answered. */
export interface ToolOptions {
  environment: Environment;
  tokenizer: Tokenizer;
  template: string;
  chat_template_kwargs: Readonly<Record<string, unknown>>;
  max_completion_length: number;
  /** null: no limit */
  max_tool_calling_iterations: number | null;
  /** seconds for the calls of one turn; null: no limit */
  timeout: number | null;
  /** continues sequences */
  draw(requests: readonly GenerationRequest[]): Promise<Generation[]>;
}

/** Completions with their turns, and how often functions were called. */
interface ToolResults {
  runs: ToolRun[];
  calls: number;
  failures: number;
}

/**
 * Answers the calls of completions and lets the model go on, until no completion ends with a call, the number of
 * iterations is reached, or results no longer fit max_completion_length.
 *
 * @param requests of the first turns
 * @throws {TrainingError} a function that takes longer than the timeout
 * @see TRL's GRPOTrainer._tool_call_loop
 */
export async function runTools(
  requests: readonly GenerationRequest[],
  first: readonly Generation[],
  options: ToolOptions,
): Promise<ToolResults> {
  const { tokenizer, max_completion_length } = options;
  const most = options.max_tool_calling_iterations ?? Number.POSITIVE_INFINITY;
  const read = ({ ids }: Pick<Generation, "ids">) =>
    parseAssistant(tokenizer.decode(ids, { skip_special_tokens: true }));
  const runs = first.map(
    (generation): ToolRun => ({
      generation,
      tool_mask: new Uint8Array(generation.ids.length).fill(1),
      messages: [read(generation)],
    }),
  );
  const counts = { calls: 0, failures: 0 };
  let open = runs.map((_, i) => i);
  for (let iteration = 0; iteration < most; iteration++) {
    const going: { i: number; request: GenerationRequest; suffix: number[] }[] = [];
    for (const i of open) {
      const { generation, messages } = runs[i];
      const calls = messages.at(-1)!.tool_calls as ToolCall[] | undefined;
      if (!calls) continue;
      const results = await answer(calls, options, counts);
      const suffix = suffixIds(results, generation, options);
      const left = max_completion_length - generation.ids.length - suffix.length;
      if (left < 1) continue;
      messages.push(...results);
      const prompt_ids = [...requests[i].prompt_ids, ...generation.ids, ...suffix];
      going.push({ i, suffix, request: { ...requests[i], prompt_ids, max_new_tokens: left } });
    }
    if (going.length === 0) break;
    const drawn = await options.draw(going.map(({ request }) => request));
    for (const [k, { i, suffix }] of going.entries()) {
      runs[i] = joined(runs[i], suffix, drawn[k]);
      runs[i].messages.push(read(drawn[k]));
    }
    open = going.map(({ i }) => i);
  }
  return { runs, ...counts };
}

function suffixIds(results: readonly Message[], { ids, finish_reason }: Generation, options: ToolOptions): number[] {
  const { tokenizer, template, chat_template_kwargs } = options;
  const { bos_token, eos_token, pad_token } = tokenizer;
  const known = { bos_token, eos_token, pad_token: pad_token ?? undefined, ...chat_template_kwargs };
  // a base model's end of turn is another token than its eos_token
  const end = finish_reason === "stop" ? tokenizer.decode(ids.slice(-1)) : (eos_token ?? "");
  return tokenizer.encode(toolSuffix(template, results, { ...known, end }));
}

/** A completion, the results after it, and its next turn. */
function joined({ generation, tool_mask, messages }: ToolRun, suffix: readonly number[], next: Generation): ToolRun {
  const before = generation.ids.length;
  const length = before + suffix.length + next.ids.length;
  const mask = new Uint8Array(length).fill(1);
  mask.set(tool_mask);
  mask.fill(0, before, before + suffix.length);
  const logps = new Float32Array(length);
  logps.set(generation.logps);
  logps.set(next.logps, before + suffix.length);
  const ids = [...generation.ids, ...suffix, ...next.ids];
  return { generation: { ids, logps, finish_reason: next.finish_reason }, tool_mask: mask, messages };
}

/** Results of a turn's calls, in order. What a function throws is its result, as an error. */
async function answer(
  calls: readonly ToolCall[],
  { environment, timeout }: ToolOptions,
  counts: { calls: number; failures: number },
): Promise<Message[]> {
  const results: Message[] = [];
  for (const { function: called } of calls) {
    const { name } = called;
    counts.calls++;
    let result: unknown;
    try {
      if (!environment.names.includes(name)) throw new Error(`Unknown function: ${name}`);
      result = await within(timeout, name, environment.call(name, called.arguments));
    } catch (error) {
      if (error instanceof TrainingError) throw error;
      counts.failures++;
      result = { error: error instanceof Error ? error.message : String(error) };
    }
    results.push({ role: "tool", name, content: typeof result === "string" ? result : JSON.stringify(result ?? null) });
  }
  return results;
}

async function within<T>(seconds: number | null, name: string, work: Promise<T>): Promise<T> {
  if (seconds === null) return work;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    const text = `The function ${name} of the environment took longer than reward_timeout ${seconds} s`;
    timer = setTimeout(() => reject(new TrainingError(text)), 1000 * seconds);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
