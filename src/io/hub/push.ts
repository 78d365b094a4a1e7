import { type CommitProgressEvent, commitIter, createRepo, HubApiError, modelInfo } from "@huggingface/hub";
import { AbortError, BusyError, NetworkError, NotFoundError, QwenchError, RecipeError } from "../../errors.ts";
import { oneLine, show } from "../../text/show.ts";
import { aborted, CutError, type RetryPolicy, retryAfter, type Transport, withRetries } from "../http.ts";
import { checkFileName } from "../names.ts";
import { checkId, makeTransport } from "./hub.ts";

/** A file to push: bytes, or a `file:` URL that is read while it is sent. */
export interface PushFile {
  /** its name in the repository */
  path: string;
  content: Blob | URL;
}

export interface PushOptions {
  /** `owner/name`; created if it does not exist */
  repo: string;
  /** create a private repository; an existing one must already be private */
  private?: boolean;
  /** with write access; sent only to `hubUrl`, never in a message */
  token: string | undefined;
  hubUrl?: string | undefined;
  /** message of the commit */
  title: string;
  signal?: AbortSignal | undefined;
  /** share of a file that is hashed or sent, 0 … 1 */
  onProgress?: (what: string, part: number) => void;
  fetch?: typeof fetch | undefined;
  retry?: Partial<RetryPolicy> | undefined;
}

/** The result of a push. */
interface Pushed {
  /** page of the repository */
  url: string;
  commit: string;
  /** whether the repository was created */
  created: boolean;
}

/**
 * Pushes files to a model repository of the Hugging Face hub, in one commit: either all files arrive, or none. Large
 * files use large-file storage; files that were sent before are not sent again.
 *
 * @throws {RecipeError} an invalid name or token
 * @throws {NotFoundError} a token without write access
 * @throws {BusyError} another commit came in between; or an existing repository is public, but `private` was requested
 * @throws {NetworkError} after the retries; repeating the push sends only the missing files
 */
export async function pushFiles(files: readonly PushFile[], options: PushOptions): Promise<Pushed> {
  const { repo: id, signal, onProgress, title } = options;
  const what = `the model ${id}`;
  if (!id.includes("/")) throw new RecipeError(`Cannot push to ${show(id)}: a repository name must be owner/name`);
  const transport = makeTransport(checkId(id, what), what, options);
  const { hubUrl, token } = transport;
  if (!token) throw new RecipeError(`Cannot push to ${id}: set HF_TOKEN to a token with write access`);
  if (!token.startsWith("hf_"))
    throw new RecipeError(`Cannot push to ${id}: HF_TOKEN must be a token that begins with hf_`);
  for (const { path } of files) checkFileName(path, id);
  signal?.throwIfAborted();
  const shared = {
    repo: { type: "model" as const, name: id },
    accessToken: token,
    hubUrl,
    fetch: pushFetch(transport),
  };
  const created = await told(transport, () => makeRepo(shared, options));
  const commit = await told(transport, async () => {
    const events = commitIter({
      ...shared,
      title,
      operations: files.map(({ path, content }) => ({ operation: "addOrUpdate", path, content })),
      abortSignal: signal,
      useXet: false, // a separate protocol with a WebAssembly module; large-file storage accepts the same files
    });
    for (;;) {
      const { value, done } = await events.next();
      if (done) return value?.commit.oid;
      tell(value, onProgress);
    }
  });
  if (typeof commit !== "string") throw new NetworkError(`Cannot push to ${id}: ${hubUrl} returned no commit`);
  return { url: `${hubUrl}/${id}`, commit, created };
}

function tell(event: CommitProgressEvent, onProgress: PushOptions["onProgress"]): void {
  if (event.event === "fileProgress") {
    onProgress?.(`${event.state === "hashing" ? "Hashing" : "Sending"} ${event.path}`, event.progress);
  }
}

type Shared = Pick<Parameters<typeof commitIter>[0], "repo" | "hubUrl" | "fetch"> & { accessToken: string };

/** Creates the repository. @returns false if it exists already */
async function makeRepo(shared: Shared, options: PushOptions): Promise<boolean> {
  try {
    await createRepo({ ...shared, visibility: options.private ? "private" : "public" });
    return true;
  } catch (error) {
    if (!(error instanceof HubApiError) || error.statusCode !== 409) throw error;
  }
  if (!options.private) return false;
  const info = await modelInfo({ ...shared, name: options.repo });
  if (!info.private) {
    throw new BusyError(
      `Cannot push to ${options.repo} as private: it exists already and is public. Make it private on its page, or omit --private`,
    );
  }
  return false;
}

/**
 * Fetch for the hub library, with retries. All requests except the commit may be repeated: content is identified by
 * hash.
 */
function pushFetch(transport: Transport): typeof fetch {
  return (input, init) => {
    const url = String(input instanceof Request ? input.url : input);
    const commits = /\/commit\/[^/]*$/.test(new URL(url).pathname);
    return withRetries(transport, `${transport.what} (${new URL(url).pathname})`, async () => {
      let response: Response;
      try {
        response = await transport.fetch(input, { ...init, signal: init?.signal ?? transport.signal ?? null });
      } catch (error) {
        if (transport.signal?.aborted) throw aborted(transport);
        if (init?.signal?.aborted) throw error; // another file failed and reports the reason
        const { message, cause } = error as Error & { cause?: { code?: string; message?: string } };
        const why = `the connection failed (${[message, cause?.code ?? cause?.message].filter(Boolean).join(": ")})`;
        if (!commits) throw new CutError(why, undefined, { cause: error });
        throw new NetworkError(
          `Cannot tell whether the push to ${transport.what} arrived: ${why} during the commit. Look at ${transport.hubUrl} before you push again`,
          { cause: error },
        );
      }
      const { status } = response;
      if (status === 429 || status === 408 || (status >= 500 && !commits) || status === 503) {
        throw new CutError(`${new URL(url).origin} answers ${status}`, retryAfter(response));
      }
      return response;
    });
  };
}

/** Runs a call of the hub library and converts its errors, without the token or signed URLs. */
async function told<T>(transport: Transport, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    const { what, hubUrl, token, signal } = transport;
    if (signal?.aborted) throw new AbortError(`Stopped pushing to ${what}`);
    const hide = (text: string) => (token ? text.replaceAll(token, "…") : text);
    const cannot = `Cannot push to ${what}`;
    if (error instanceof QwenchError) {
      error.message = hide(error.message.replace(/^Cannot fetch the model \S+/, cannot));
      throw error;
    }
    if (!(error instanceof HubApiError)) {
      throw new NetworkError(
        `${cannot}: the hub's answer does not match its API (${oneLine(hide((error as Error).message))})`,
      );
    }
    const { statusCode: status, data } = error;
    const { origin } = new URL(error.url);
    if (origin !== new URL(hubUrl).origin)
      throw new NetworkError(`${cannot}: the large-file storage ${origin} answers ${status}`);
    const reason = (data as { error?: unknown } | undefined)?.error;
    const said = `${hubUrl} answers ${status}${typeof reason === "string" ? ` (${oneLine(hide(reason))})` : ""}`;
    switch (status) {
      case 401:
        throw new NotFoundError(
          `${cannot}: ${said}: it does not accept the token in HF_TOKEN; check that the token is complete and not revoked`,
        );
      case 403:
        throw new NotFoundError(
          `${cannot}: ${said}: the token in HF_TOKEN has no write access; it needs write permission, and the owner must be you or an organisation of yours`,
        );
      case 404:
        throw new NotFoundError(
          `${cannot}: ${said}: the owner does not exist, or the token in HF_TOKEN has no access to it`,
        );
      case 409:
      case 412:
        throw new BusyError(`${cannot}: ${said}: another commit changed it meanwhile; push again`);
      default:
        throw new NetworkError(`${cannot}: ${said}`);
    }
  }
}
