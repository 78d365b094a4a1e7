import { QwenchError, TrainingError } from "../../errors.ts";
import { JudgeClient, type JudgeEndpoint } from "../../rewards/judge/endpoint.ts";
import type { Asker, NumberedQuestion, Reply } from "./ask.ts";

/** The environment variable of an endpoint's key: Qwench's own name, so that another service's key is never sent by mistake. */
export const DATA_KEY = "QWENCH_DATA_KEY";

interface EndpointOptions extends Omit<JudgeEndpoint, "parameters"> {
  /** further fields of each request, such as `response_format`; null leaves a field out, such as `seed` */
  parameters: Readonly<Record<string, unknown>>;
  concurrency: number;
  /** USD per million tokens */
  price_prompt: number;
  price_completion: number;
  /** USD; null for no limit */
  max_cost: number | null;
}

/** An OpenAI-compatible endpoint that answers questions, with its costs so far. */
export interface EndpointAsker extends Asker {
  /** retries, and USD at the options' prices */
  spent(): { retries: number; cost: number };
}

/**
 * Asks an OpenAI-compatible endpoint, with the judge's retries and limits. Each question's number is sent as `seed`, so that a
 * server that honours it repeats its replies.
 *
 * Iteration throws NetworkError when the endpoint cannot be reached, and TrainingError at the cost limit; replies before it are
 * already given out.
 *
 * @throws {RecipeError} an invalid address or key
 */
export function endpointAsker(options: EndpointOptions): EndpointAsker {
  const { url, model, parameters, concurrency, price_prompt, price_completion, max_cost } = options;
  const client = new JudgeClient({ names: { service: "endpoint", url: "api_base", key: DATA_KEY }, ...options });
  let cost = 0;

  async function* ask(questions: readonly NumberedQuestion[], signal: AbortSignal): AsyncGenerator<Reply> {
    const stop = new AbortController();
    const end = () => stop.abort(signal.reason);
    signal.addEventListener("abort", end, { once: true });
    if (signal.aborted) end();
    const running = new Map<number, Promise<Reply>>();
    let next = 0;
    const start = () => {
      const index = next++;
      const { prompt, max_tokens, temperature, top_p, number } = questions[index];
      // 31 bits: some servers take no larger seed
      const all = { temperature, top_p, max_tokens, seed: number >>> 1, ...parameters };
      const more = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== null));
      const work = client.ask(prompt, stop.signal, more).then((reply) => ({ index, ...client.clean(reply) }));
      work.catch(() => {}); // of a reply that no one waits for any more
      running.set(index, work);
    };
    try {
      while (next < questions.length || running.size > 0) {
        while (next < questions.length && running.size < concurrency) {
          if (max_cost !== null && cost >= max_cost) {
            throw new TrainingError(
              `The endpoint has cost ${cost.toFixed(2)} USD, but max_cost is ${max_cost}; replies so far are kept`,
            );
          }
          start();
        }
        const reply = await Promise.race(running.values());
        running.delete(reply.index);
        cost += (reply.prompt_tokens * price_prompt + reply.completion_tokens * price_completion) / 1e6;
        yield reply;
      }
    } catch (error) {
      if (error instanceof QwenchError && !signal.aborted) yield* finished(running);
      throw error;
    } finally {
      signal.removeEventListener("abort", end);
      stop.abort();
    }
  }
  return { identity: { url, model, parameters }, ask, spent: () => ({ retries: client.retries, cost }) };
}

/** Replies that have arrived while another question failed: they are paid for and must be kept. */
async function* finished(running: ReadonlyMap<number, Promise<Reply>>): AsyncGenerator<Reply> {
  const nothing = Symbol();
  for (const work of running.values()) {
    const reply = await Promise.race([work.catch(() => nothing), Promise.resolve(nothing)]);
    if (typeof reply !== "symbol") yield reply as Reply;
  }
}
