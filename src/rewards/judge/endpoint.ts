import { AbortError, NetworkError, RecipeError } from "../../errors.ts";
import { parseBoundedJson } from "../../text/bounded-json.ts";
import { formatBytes } from "../../text/bytes.ts";
import { oneLine } from "../../text/show.ts";

/** A judge's endpoint, with OpenAI's chat completions API. Times are in ms. */
export interface JudgeEndpoint {
  /** the URL before `/chat/completions` */
  url: string;
  model: string;
  /** sent as a bearer token, only to `url`; null for none. No message of this module contains it. */
  key: string | null;
  /** further fields of the request's body, such as temperature */
  parameters: Readonly<Record<string, unknown>>;
  /** limit of one request, until the last byte of the answer */
  timeout_ms: number;
  /** attempts per answer, including the first */
  attempts: number;
  /** wait before the second attempt; doubles each time */
  backoff_ms: number;
  fetch: typeof fetch;
  /** names in messages; default: those of a judge */
  names?: EndpointNames;
}

/**
 * How messages name an endpoint and the setting of its address. `key`: the environment variable of its key, or the words for a
 * page's field.
 */
export interface EndpointNames {
  service: string;
  url: string;
  key: string;
}

export interface JudgeReply {
  text: string;
  prompt_tokens: number;
  completion_tokens: number;
}

/** The environment variable of the key: Qwench's own name, so that another service's key is never sent by mistake. */
export const JUDGE_KEY = "QWENCH_JUDGE_KEY";
const JUDGE_NAMES: EndpointNames = { service: "judge", url: "judge_url", key: JUDGE_KEY };
/** Longest wait, even if a server asks for more. */
const LONGEST_WAIT_MS = 120_000;
const MOST_BYTES = 4 << 20;

const placeOf = (key: string) => (key.includes(" ") ? key : `the environment variable ${key}`);

/** A failure after which a retry may succeed. */
class Again extends Error {
  readonly wait_ms: number | null;
  constructor(message: string, wait_ms: number | null = null) {
    super(message);
    this.wait_ms = wait_ms;
  }
}

/** Asks a judge, with retries. */
export class JudgeClient {
  readonly #endpoint: JudgeEndpoint;
  readonly #address: string;
  readonly #names: EndpointNames;
  /** no request before this time: if the server asks one request to wait, all wait */
  #resume = 0;
  /** number of retries */
  retries = 0;

  /** @throws {RecipeError} an invalid URL or key */
  constructor(endpoint: JudgeEndpoint) {
    const { url, key, names = JUDGE_NAMES } = endpoint;
    this.#names = names;
    if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
      throw new RecipeError(
        `${names.url} must be an http or https address such as https://api.openai.com/v1, not ${url}`,
      );
    }
    const { username, password } = new URL(url);
    if (username || password) {
      throw new RecipeError(`${names.url} must not contain a password: put the key into ${placeOf(names.key)}`);
    }
    if (key !== null && !/^[\x21-\x7e]+$/.test(key)) {
      throw new RecipeError(`${names.key} must be one word of ASCII characters, because it is sent in a header`);
    }
    this.#endpoint = endpoint;
    const address = new URL(url);
    address.pathname = `${address.pathname.replace(/\/+$/, "")}/chat/completions`;
    this.#address = address.href;
  }

  /**
   * @param more further fields of this request's body
   * @throws {NetworkError} after the last attempt, or at once if a retry cannot help
   * @throws {AbortError} the signal was aborted
   */
  async ask(prompt: string, signal: AbortSignal, more: Readonly<Record<string, unknown>> = {}): Promise<JudgeReply> {
    const { attempts, backoff_ms } = this.#endpoint;
    const stopped = () => new AbortError(`The run was stopped while it asked the ${this.#names.service}`);
    for (let attempt = 1; ; attempt++) {
      await pause(this.#resume - Date.now(), signal, stopped);
      try {
        return await this.#request(prompt, signal, more);
      } catch (error) {
        if (signal.aborted) throw stopped();
        if (!(error instanceof Again)) throw error;
        const { wait_ms } = error;
        const longer = wait_ms !== null && wait_ms > LONGEST_WAIT_MS;
        if (attempt >= attempts || longer) {
          const tries = attempt === 1 ? "" : ` (${attempt} attempts)`;
          const wait = longer ? `; it asks to wait ${Math.ceil(wait_ms / 1000)} s` : "";
          throw new NetworkError(
            `Cannot ask the ${this.#names.service} at ${this.#name()}: ${this.#clean(error.message)}${tries}${wait}`,
          );
        }
        this.retries++;
        if (wait_ms !== null) this.#resume = Math.max(this.#resume, Date.now() + wait_ms);
        // the random part spreads the retries of many requests
        else
          await pause(
            Math.min(LONGEST_WAIT_MS, backoff_ms * 2 ** (attempt - 1) * (0.75 + Math.random() / 2)),
            signal,
            stopped,
          );
      }
    }
  }

  async #request(prompt: string, signal: AbortSignal, more: Readonly<Record<string, unknown>>): Promise<JudgeReply> {
    const { model, key, parameters, timeout_ms, fetch } = this.#endpoint;
    const control = new AbortController();
    const stop = () => control.abort();
    signal.addEventListener("abort", stop, { once: true });
    const timer = setTimeout(stop, timeout_ms);
    try {
      const response = await fetch(this.#address, {
        method: "POST",
        headers: { "content-type": "application/json", ...(key !== null && { authorization: `Bearer ${key}` }) },
        body: JSON.stringify({ model, ...parameters, ...more, messages: [{ role: "user", content: prompt }] }),
        redirect: "error", // so that the key is sent only to this URL
        signal: control.signal,
      });
      const body = await bodyOf(response);
      if (!response.ok) throw this.#failure(response, body);
      return replyOf(body);
    } catch (error) {
      if (error instanceof Again || error instanceof NetworkError) throw error;
      if (control.signal.aborted) throw new Again(`no answer within ${timeout_ms / 1000} s`);
      const { message, cause } = error as Error & { cause?: { code?: string; message?: string } };
      throw new Again(`the connection failed (${[message, cause?.code ?? cause?.message].filter(Boolean).join(": ")})`);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    }
  }

  #failure(response: Response, body: string): Error {
    const { status } = response;
    const said = `it answers ${status}${excerpt(body)}`;
    if ([408, 409, 425, 429].includes(status) || status >= 500) return new Again(said, retryAfter(response));
    const advice =
      status === 401 || status === 403
        ? this.#endpoint.key === null
          ? `; set ${placeOf(this.#names.key)} to a key`
          : `; it rejects the key in ${this.#names.key}`
        : status === 404
          ? `; check the address, and that it serves the model ${this.#endpoint.model}`
          : "";
    return new NetworkError(`Cannot ask the ${this.#names.service} at ${this.#name()}: ${this.#clean(said)}${advice}`);
  }

  /** The address without possible secrets. */
  #name(): string {
    const { origin, pathname } = new URL(this.#address);
    return origin + pathname;
  }

  /** Removes the key, which a server may repeat in its text. */
  #clean(text: string): string {
    const { key } = this.#endpoint;
    return key === null ? text : text.replaceAll(key, "[key]");
  }

  /** A reply without the key, which the server may repeat. */
  clean(reply: JudgeReply): JudgeReply {
    return { ...reply, text: this.#clean(reply.text) };
  }
}

async function bodyOf(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  let [text, size] = ["", 0];
  for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
    size += part.value.length;
    if (size > MOST_BYTES) {
      await reader!.cancel();
      throw new Again(`its answer is longer than ${formatBytes(MOST_BYTES)}`);
    }
    text += decoder.decode(part.value, { stream: true });
  }
  return text + decoder.decode();
}

function replyOf(body: string): JudgeReply {
  let parsed: {
    choices?: { message?: { content?: unknown } }[];
    usage?: { prompt_tokens?: unknown; completion_tokens?: unknown };
  };
  try {
    parsed = parseBoundedJson(body) as typeof parsed;
  } catch {
    throw new Again(`its answer is not JSON${excerpt(body)}`);
  }
  const text = parsed?.choices?.[0]?.message?.content;
  if (typeof text !== "string") throw new Again(`its answer has no choices[0].message.content${excerpt(body)}`);
  const tokens = (value: unknown) => (Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : 0);
  return {
    text,
    prompt_tokens: tokens(parsed.usage?.prompt_tokens),
    completion_tokens: tokens(parsed.usage?.completion_tokens),
  };
}

/** The beginning of a server's text, or nothing. */
function excerpt(body: string): string {
  const text = body.replace(/\s+/g, " ").trim();
  return text === "" ? "" : ` (${oneLine(text, 160)})`;
}

/** Retry-After in ms: seconds or a date; null if absent. */
function retryAfter(response: Response): number | null {
  const value = response.headers.get("retry-after")?.trim();
  if (!value) return null;
  const ms = /^\d+(\.\d+)?$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : null;
}

function pause(ms: number, signal: AbortSignal, stopped: () => AbortError): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(stopped());
    if (ms <= 0) return resolve();
    const stop = () => {
      clearTimeout(timer);
      reject(stopped());
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal.addEventListener("abort", stop, { once: true });
  });
}
