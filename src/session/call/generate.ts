import type { Message } from "../../data/chat-template.ts";
import { RecipeError } from "../../errors.ts";
import { promptOf, respond, settingsOf, type TextResponse, type TextSettings } from "../generate.ts";
import { type CallHost, type CallProgress, currentHost } from "./host.ts";
import { type DataInput, openRowsInput } from "./inputs.ts";
import { Narrator, stoppable } from "./narrator.ts";
import { type ModelCall, openText } from "./text.ts";

/** What to write. Settings that are absent come from the model's generation_config.json. */
export interface GenerateCall extends ModelCall, Partial<Omit<TextSettings, "seed">> {
  /** a question, a conversation, or several of them */
  prompt?: string | readonly Message[] | readonly (string | readonly Message[])[];
  /** rows with a `prompt`, `messages`, `question` or `problem`, instead of `prompt` */
  data?: DataInput;
  /** of a named data set; default `test` */
  split?: string;
  /** system message of conversations without one */
  system?: string;
  /** complete the plain text, without the chat template */
  raw?: boolean;
  /** responses per prompt; default 1 */
  n?: number;
  /** u32; default 0 */
  seed?: number;
  /** texts that end a response; the response does not include them */
  stop?: readonly string[];
}

/** Events of a call of `generate`. `prompt` and `response` count from 0. */
export type GenerateEvent =
  | CallProgress
  /** new text of a response, in whole characters */
  | { type: "text"; prompt: number; response: number; text: string; tokens: number }
  | { type: "response"; prompt: number; response: number; made: TextResponse }
  | { type: "end"; prompts: number; responses: number; tokens: number; seconds: number };

/**
 * Writes responses to prompts by one call: opens the GPU, loads the model with its adapter, and streams the text. A response
 * depends on its prompt's place, the seed and its own number, not on the rest of the batch.
 *
 * @throws {RecipeError} neither prompts nor data, or both
 * @throws {DataError} a prompt is empty or leaves no room for an answer
 * @throws {MemoryError} the weights do not fit
 * @throws {AbortError} `signal` fired
 */
export function generate(call: GenerateCall): AsyncGenerator<GenerateEvent, void> {
  return stoppable(call.signal, (signal) => write(currentHost(), call, signal));
}

async function* write(host: CallHost, call: GenerateCall, signal: AbortSignal): AsyncGenerator<GenerateEvent> {
  const narrator = new Narrator();
  const { prompt, data, split = "test", n = 1, seed = 0, stop, system = null, raw = false } = call;
  if ((prompt === undefined) === (data === undefined)) {
    throw new RecipeError(`generate needs a prompt or data, got ${prompt === undefined ? "neither" : "both"}`);
  }
  const opened = yield* openText(host, call, signal, narrator);
  const { gpu, prepared, model } = opened;
  try {
    const fields = { dataset_config: null, system_prompt: system };
    const following = { signal, report: narrator.report };
    const rows = data === undefined ? null : openRowsInput(host, data, { split, fields, model }, following);
    const sources = prompt === undefined ? yield* narrator.during(all(rows!)) : promptRows(prompt);
    const prompts = sources.map((source) => promptOf(prepared, source, { system, raw }));
    const text = yield* narrator.during(opened.load());
    const began = performance.now();
    let [responses, tokens] = [0, 0];
    const settings = settingsOf(prepared.defaults, call, seed);
    for await (const event of respond(text, prompts, { ...settings, n, stop, signal })) {
      if (event.type === "response") {
        responses++;
        tokens += event.made.ids.length;
      }
      yield event;
    }
    yield { type: "end", prompts: prompts.length, responses, tokens, seconds: (performance.now() - began) / 1000 };
  } finally {
    await gpu.clear().catch(() => {}); // a lost device has said so already
  }
}

async function all<T>(rows: Promise<AsyncIterable<T> | Iterable<T>>): Promise<T[]> {
  const list: T[] = [];
  for await (const row of await rows) list.push(row);
  return list;
}

/** Prompts as rows. One conversation is a list of messages; several prompts are a list of texts or of such lists. */
function promptRows(given: NonNullable<GenerateCall["prompt"]>) {
  const single = typeof given === "string" || (given.length > 0 && given.every((item) => isMessage(item)));
  const list = (single ? [given] : given) as readonly (string | readonly Message[])[];
  if (list.length === 0) throw new RecipeError("generate needs a prompt, got an empty list");
  return list.map((prompt, i) => ({ row: { prompt } as Record<string, unknown>, number: i, file: "the prompts" }));
}

const isMessage = (item: unknown): boolean => typeof item === "object" && item !== null && "role" in item;
