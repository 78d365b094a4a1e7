import { AbortError, FormatError, NetworkError, NotFoundError, QwenchError } from "../errors.ts";
import { formatFileSize } from "../text/bytes.ts";
import { notData } from "../text/not-data.ts";

/** Retry settings. Times are in milliseconds. */
export interface RetryPolicy {
  /** consecutive attempts that may fail without a byte of progress */
  attempts: number;
  /** wait after the first failure; doubles each time */
  baseDelayMs: number;
  /** longest wait, even if a server asks for more in Retry-After */
  maxDelayMs: number;
  /** a connection that sends nothing for this long counts as broken */
  stallMs: number;
}

export const RETRY: RetryPolicy = { attempts: 5, baseDelayMs: 500, maxDelayMs: 120_000, stallMs: 60_000 };

/** Settings of all requests of one hub call. */
export interface Transport {
  /** root of the hub, without a trailing slash; the token is sent only to this origin */
  hubUrl: string;
  token?: string | undefined;
  signal?: AbortSignal | undefined;
  fetch: typeof fetch;
  retry: RetryPolicy;
  /** whether If-Range may be sent */
  conditional: boolean;
  /** the fetched item, for errors: `the model Qwen/Qwen2.5-0.5B` */
  what: string;
}

/** A failure after which a retry may succeed. */
export class CutError extends Error {
  /** wait that the server requested, ms */
  readonly waitMs: number | undefined;
  constructor(message: string, waitMs?: number, options?: ErrorOptions) {
    super(message, options);
    this.waitMs = waitMs;
  }
}

/** An open response that can be closed. */
export interface OpenResponse {
  response: Response;
  /** Reads the next bytes; undefined at the end. A broken or stalled connection is a {@link CutError}. */
  next(): Promise<Uint8Array | undefined>;
  cancel(): void;
}

/**
 * One attempt: sends the request and waits for the headers.
 *
 * @returns a response of status 2xx, or 416 if a Range was requested
 * @throws {CutError} when a retry makes sense: 429, 408, 5xx, a connection that fails or stalls
 * @throws {NotFoundError} for 401, 403, 404 and 410, with advice
 * @throws {NetworkError} for any other status
 * @throws {AbortError} when the caller's signal fired
 */
export async function open(transport: Transport, url: string, headers: Record<string, string>): Promise<OpenResponse> {
  const { signal, retry } = transport;
  const control = new AbortController();
  const cancel = () => control.abort();
  signal?.addEventListener("abort", cancel, { once: true });
  if (signal?.aborted) cancel();
  const close = () => {
    signal?.removeEventListener("abort", cancel);
    control.abort();
  };
  const timed = async <T>(work: Promise<T>): Promise<T> => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stalled = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new CutError(`nothing arrived for ${retry.stallMs} ms`)), retry.stallMs);
    });
    try {
      return await Promise.race([work, stalled]);
    } catch (error) {
      close();
      if (signal?.aborted) throw aborted(transport);
      if (error instanceof CutError || error instanceof QwenchError) throw error;
      throw new CutError(reason(error as Error), undefined, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  };
  const own = new URL(url).origin === new URL(transport.hubUrl).origin;
  if (own && transport.token) headers = { ...headers, Authorization: `Bearer ${transport.token}` };
  const response = await timed(transport.fetch(url, { headers, signal: control.signal }));
  if (!response.ok && !(response.status === 416 && headers.Range)) {
    close();
    throw failure(transport, url, response);
  }
  const reader = response.body?.getReader();
  return {
    response,
    cancel: close,
    async next() {
      const part = reader ? await timed(reader.read()) : undefined;
      if (part?.value) return part.value;
      signal?.removeEventListener("abort", cancel);
      return undefined;
    },
  };
}

/**
 * Runs `attempt` until it succeeds or fails with something other than a {@link CutError}.
 *
 * @throws {NetworkError} after `retry.attempts` consecutive failures
 */
export async function withRetries<T>(transport: Transport, what: string, attempt: () => Promise<T>): Promise<T> {
  const { attempts, baseDelayMs, maxDelayMs } = transport.retry;
  let failed = 0;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof CutError)) throw error;
      failed++;
      const asked = error.waitMs;
      if (failed >= attempts || (asked !== undefined && asked > maxDelayMs)) {
        const wait = asked === undefined ? "" : `; the server asks to wait ${Math.ceil(asked / 1000)} s`;
        throw new NetworkError(`Cannot fetch ${what}: ${error.message} (${failed} attempts)${wait}`, {
          cause: error,
        });
      }
      // The random part spreads the retries of many clients.
      const backoff = baseDelayMs * 2 ** (failed - 1) * (0.75 + Math.random() / 2);
      await sleep(Math.max(asked ?? 0, Math.min(backoff, maxDelayMs)), transport);
    }
  }
}

/** Most bytes of an answer of the hub's API: a page of a listing has a few hundred thousand. */
const MOST_API_BYTES = 20_000_000;
const MOST_DEPTH = 100;

/** `fetch` for the hub library, with retries, the token, and this project's errors. */
export function hubFetch(transport: Transport): typeof fetch {
  return async (input) => {
    const url = input instanceof Request ? input.url : String(input);
    return withRetries(transport, transport.what, async () => {
      const opened = await open(transport, url, { accept: "application/json" });
      const parts: Uint8Array[] = [];
      let size = 0;
      let depth = 0;
      let quoted = false;
      let escaped = false;
      const refuse = (why: string): never => {
        opened.cancel();
        throw new FormatError(`Cannot fetch ${transport.what}: ${bare(url)} answers with ${why}`);
      };
      for (let part = await opened.next(); part; part = await opened.next()) {
        size += part.length;
        if (size > MOST_API_BYTES) refuse(`more than ${formatFileSize(MOST_API_BYTES)} of JSON`);
        if (parts.length === 0) {
          const kind = notData(part);
          if (kind) refuse(`${kind}, not with JSON. A proxy or a login page of this network may be in between`);
        }
        for (const byte of part) {
          if (escaped) escaped = false;
          else if (byte === 0x5c) escaped = quoted;
          else if (byte === 0x22) quoted = !quoted;
          else if (quoted) continue;
          else if (byte === 0x5b || byte === 0x7b) depth++;
          else if (byte === 0x5d || byte === 0x7d) depth--;
          if (depth > MOST_DEPTH) refuse(`JSON that is nested deeper than ${MOST_DEPTH}`);
        }
        parts.push(part);
      }
      return new Response(new Blob(parts as BlobPart[]), { status: 200, headers: opened.response.headers });
    });
  };
}

function failure(transport: Transport, url: string, response: Response): Error {
  const { status } = response;
  const code = response.headers.get("X-Error-Code") ?? "";
  const from = response.url || url;
  const said = `${bare(from)} answers ${status}${code ? ` ${code.slice(0, 60)}` : ""}`;
  if (status === 429 || status === 408 || status >= 500) return new CutError(said, retryAfter(response));
  const cannot = `Cannot fetch ${transport.what}: ${said}`;
  if (status === 401 || status === 403) {
    // the hub allowed the request and redirected it: a new address may work; if not, the token is not the cause
    if (new URL(from).origin !== new URL(transport.hubUrl).origin) {
      return new CutError(
        `${said}: the file server refuses an address that the hub signed. Possible causes: a proxy, a firewall or a wrong clock`,
      );
    }
    const advice = transport.token
      ? `the token has no access; request access on its page at ${transport.hubUrl}, or check the name`
      : "it is gated or private (set HF_TOKEN), or the name does not exist: the hub gives the same answer for both";
    return new NotFoundError(`${cannot}: ${advice}`);
  }
  if (status === 404 || status === 410) {
    const missing =
      code === "RevisionNotFound" ? "the revision does not exist" : "the name, revision or file does not exist";
    return new NotFoundError(
      `${cannot}: ${missing}${transport.token ? "" : "; if it is gated or private: set HF_TOKEN"}`,
    );
  }
  if (status === 407) return new NetworkError(`${cannot}: the proxy requires a user and a password in HTTPS_PROXY`);
  return new NetworkError(cannot);
}

/** Retry-After in ms: seconds, or a date. */
export function retryAfter(response: Response): number | undefined {
  const value = response.headers.get("Retry-After");
  if (!value) return undefined;
  const ms = /^\d+(\.\d+)?$/.test(value.trim()) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

/**
 * A URL for an error, without its query: a CDN's query has a signature that would give log readers access to the file.
 */
function bare(url: string): string {
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}

function reason({ message, cause }: Error): string {
  const inner = (cause as { code?: string; message?: string } | undefined) ?? {};
  return `the connection failed (${[message, inner.code ?? inner.message].filter(Boolean).join(": ")})`;
}

export function aborted(transport: Transport): AbortError {
  return new AbortError(`Stopped fetching ${transport.what}: cancelled by the caller`);
}

function sleep(ms: number, transport: Transport): Promise<void> {
  const { signal } = transport;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(aborted(transport));
    const stop = () => {
      clearTimeout(timer);
      reject(aborted(transport));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
