import { type CommitProgressEvent, commitIter, createRepo, HubApiError, modelInfo } from "@huggingface/hub";
import { AbortError, BusyError, NetworkError, NotFoundError, QwenchError, RecipeError } from "../../errors.ts";
import { oneLine, show } from "../../text/show.ts";
import { aborted, CutError, type RetryPolicy, retryAfter, type Transport, withRetries } from "../http.ts";
import { checkFileName } from "../names.ts";
import { checkId, makeTransport } from "./hub.ts";

/** A file to push: bytes, or where they lie, a `file:` URL that is read while it is sent. */
export interface PushFile {
  /** its name in the repository */
  path: string;
  content: Blob | URL;
}

export interface PushOptions {
  /** `owner/name`; made where it is not there */
  repo: string;
  /** nobody but the owner may read a repository that is made; one that is there must be private already */
  private?: boolean;
  /** with the right to write; sent to `hubUrl` only, never part of a message */
  token: string | undefined;
  hubUrl?: string | undefined;
  /** of the commit */
  title: string;
  signal?: AbortSignal | undefined;
  /** a file's part that is hashed or sent, 0 … 1 */
  onProgress?: (what: string, part: number) => void;
  fetch?: typeof fetch | undefined;
  retry?: Partial<RetryPolicy> | undefined;
}

/** Where a push went. */
export interface Pushed {
  /** page of the repository */
  url: string;
  commit: string;
  /** whether the repository was made for it */
  created: boolean;
}

/**
 * Puts files into a model repository of the Hugging Face hub, in one commit: all of them are there, or none. Large files go
 * through large-file storage, from where the hub has them at once if they were sent before.
 *
 * @throws {RecipeError} a name or token that cannot be one
 * @throws {NotFoundError} a token that may not write there
 * @throws {BusyError} another commit came between; a repository that is public where a private one was asked for
 * @throws {NetworkError} after the retries; the same push then goes on with what is missing
 */
export async function pushFiles(files: readonly PushFile[], options: PushOptions): Promise<Pushed> {
  const { repo: id, signal, onProgress, title } = options;
  const what = `the model ${id}`;
  if (!id.includes("/")) throw new RecipeError(`Cannot push to ${show(id)}: a repository is named owner/name`);
  const transport = makeTransport(checkId(id, what), what, options);
  const { hubUrl, token } = transport;
  if (!token) throw new RecipeError(`Cannot push to ${id}: set HF_TOKEN to a token that may write there`);
  if (!token.startsWith("hf_")) throw new RecipeError(`Cannot push to ${id}: a token in HF_TOKEN begins with hf_`);
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
      useXet: false, // a protocol of its own with a WebAssembly module; large-file storage takes the same files
    });
    for (;;) {
      const { value, done } = await events.next();
      if (done) return value?.commit.oid;
      tell(value, onProgress);
    }
  });
  if (typeof commit !== "string") throw new NetworkError(`Cannot push to ${id}: ${hubUrl} names no commit`);
  return { url: `${hubUrl}/${id}`, commit, created };
}

function tell(event: CommitProgressEvent, onProgress: PushOptions["onProgress"]): void {
  if (event.event === "fileProgress") {
    onProgress?.(`${event.state === "hashing" ? "Hashing" : "Sending"} ${event.path}`, event.progress);
  }
}

type Shared = Pick<Parameters<typeof commitIter>[0], "repo" | "hubUrl" | "fetch"> & { accessToken: string };

/** Makes the repository. @returns false where it is there already */
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
      `Cannot push to ${options.repo} as private: it is there already, and everybody may read it. Make it private on its page, or leave --private out`,
    );
  }
  return false;
}

/**
 * Fetch for the hub library, with retries. Everything but the commit may be sent twice: what is sent is named by its hash.
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
        if (init?.signal?.aborted) throw error; // another file failed, and says why
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

/** Runs a call of the hub library; its failures become ours, without the token or a signed URL in them. */
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
        `${cannot}: the hub's answer is not what its API says (${oneLine(hide((error as Error).message))})`,
      );
    }
    const { statusCode: status, data } = error;
    const { origin } = new URL(error.url);
    if (origin !== new URL(hubUrl).origin)
      throw new NetworkError(`${cannot}: ${origin}, its store of large files, answers ${status}`);
    const reason = (data as { error?: unknown } | undefined)?.error;
    const said = `${hubUrl} answers ${status}${typeof reason === "string" ? ` (${oneLine(hide(reason))})` : ""}`;
    switch (status) {
      case 401:
        throw new NotFoundError(
          `${cannot}: ${said}: it does not know the token in HF_TOKEN; is it whole, and not revoked?`,
        );
      case 403:
        throw new NotFoundError(
          `${cannot}: ${said}: the token in HF_TOKEN may not write there; it needs the right to write, and the owner must be you or an organisation of yours`,
        );
      case 404:
        throw new NotFoundError(`${cannot}: ${said}: there is no such owner, or the token in HF_TOKEN may not see it`);
      case 409:
      case 412:
        throw new BusyError(`${cannot}: ${said}: somebody else changed it meanwhile; push again`);
      default:
        throw new NetworkError(`${cannot}: ${said}`);
    }
  }
}
