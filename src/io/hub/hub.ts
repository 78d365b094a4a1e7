import { datasetInfo, modelInfo } from "@huggingface/hub";
import { FormatError, NetworkError, NotFoundError, RecipeError, UnsupportedError } from "../../errors.ts";
import { show } from "../../text/show.ts";
import { INDEX_FILE, parseWeightMap, WEIGHTS_FILE } from "../checkpoint.ts";
import { hubFetch, RETRY, type RetryPolicy, type Transport } from "../http.ts";
import { exclusively, type Folder, forgetDead } from "../storage.ts";
import { downloadFile, type RemoteFile } from "./download.ts";
import { COMMIT, cachedCommit, fromHub, isKnown, type Kind, listing, noted } from "./listing.ts";

export type { RetryPolicy } from "../http.ts";
export type { RemoteFile } from "./download.ts";

const HUB_URL = "https://huggingface.co";

/** Progress of a download, in bytes. */
export interface HubProgress {
  /** the current file */
  file: string;
  received: number;
  size: number;
  /** of all files of this call, including files in the cache */
  totalReceived: number;
  totalSize: number;
}

/** Options of every hub call. */
export interface HubOptions {
  /** folder for files: `models--{owner}--{name}/snapshots/{commit}/…`, the layout of Hugging Face's own cache */
  cache: Folder;
  /** branch, tag or commit; default `main` */
  revision?: string | undefined;
  /** access token; sent only to `hubUrl`, never to the CDN, and never in a message */
  token?: string | undefined;
  /** root of the hub or of a mirror; the CLI reads `HF_ENDPOINT` */
  hubUrl?: string | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: HubProgress) => void) | undefined;
  fetch?: typeof fetch | undefined;
  /**
   * whether a resumed download sends If-Range; default true. In a browser, the CDN must allow this header, and may not.
   * Without the header, ETag and hash still detect halves that do not match.
   */
  conditional?: boolean | undefined;
  retry?: Partial<RetryPolicy> | undefined;
  /** use only the cache, not the network; the CLI reads `HF_HUB_OFFLINE` */
  offline?: boolean | undefined;
  /** called with notes for the user, such as the process that it waits for */
  onNote?: ((text: string) => void) | undefined;
}

/** A repository of the hub at one commit. */
export interface Snapshot {
  commit: string;
  files: RemoteFile[];
  folder: Folder;
  /** the folder of all its snapshots */
  home: Folder;
  transport: Transport;
  /** root of the URLs of its files */
  base: string;
  options: HubOptions;
}

/** Files of a model besides its weights; missing files are skipped. */
const MODEL_FILES = new Set([
  ..."config.json generation_config.json tokenizer.json tokenizer_config.json special_tokens_map.json".split(" "),
  ..."added_tokens.json vocab.json merges.txt chat_template.jinja chat_template.json adapter_config.json".split(" "),
  ..."preprocessor_config.json video_preprocessor_config.json processor_config.json".split(" "),
  INDEX_FILE,
]);

/**
 * Downloads a model (or an adapter) of the Hugging Face hub: config, tokenizer, and safetensors weights, one file or
 * shards. Cached files are not downloaded again; a commit that is complete in the cache needs no network, and
 * a branch falls back to the last known commit if the hub cannot be reached.
 *
 * @param id `owner/name`
 * @returns the folder of this commit, for `openCheckpoint` or `readAdapter`
 * @throws {NotFoundError} when there is no such model, or it is gated or private
 * @throws {UnsupportedError} when it has no safetensors weights
 * @throws {NetworkError} after the retries; a later call resumes
 * @throws {FormatError} when a file's size or hash differs from the listing
 * @throws {RecipeError} for an invalid id, revision, token or URL
 */
export async function downloadModel(id: string, options: HubOptions): Promise<Folder> {
  const snapshot = await openSnapshot("model", id, options.revision ?? "main", options);
  const { small, weights } = await modelFiles(id, snapshot);
  await fetchFiles(snapshot, [...small, ...weights]);
  return snapshot.folder;
}

/**
 * The files of a model that Qwench reads. Downloads the index of a sharded model, which names the shards.
 *
 * @throws {NotFoundError} a shard of the index is missing
 * @throws {UnsupportedError} no safetensors weights
 */
export async function modelFiles(
  id: string,
  snapshot: Snapshot,
): Promise<{ small: RemoteFile[]; weights: RemoteFile[] }> {
  const byPath = new Map(snapshot.files.map((file) => [file.path, file]));
  const small = snapshot.files.filter((file) => MODEL_FILES.has(file.path));
  const index = byPath.get(INDEX_FILE);
  const single = byPath.get(WEIGHTS_FILE);
  const adapter = byPath.get("adapter_model.safetensors");
  const weights = [adapter, single].filter((file) => file !== undefined);
  if (!single && index) {
    await fetchFiles(snapshot, [index]);
    const shards = parseWeightMap(await snapshot.folder.readText(INDEX_FILE), `${INDEX_FILE} of ${id}`);
    for (const [shard, tensors] of shards) {
      const file = byPath.get(shard);
      if (!file) {
        throw new NotFoundError(
          `Cannot download ${id}: ${INDEX_FILE} places ${tensors[0]} in ${shard}, which is missing`,
        );
      }
      weights.push(file);
    }
  } else if (weights.length === 0) {
    const has = snapshot.files.map((file) => file.path).slice(0, 12);
    if (snapshot.options.offline) {
      throw new NotFoundError(
        `Cannot load ${id}: the cache ${snapshot.folder.path} has no weights of it (${has.join(", ") || "no file"}), and HF_HUB_OFFLINE forbids the network`,
      );
    }
    throw new UnsupportedError(
      `Cannot download ${id}: Qwench reads ${WEIGHTS_FILE} or ${INDEX_FILE}, but the model has ${has.join(", ") || "no file"}`,
    );
  }
  return { small, weights };
}

/**
 * Resolves a revision to its commit and files.
 *
 * @throws as {@link downloadModel}
 */
export async function openSnapshot(kind: Kind, id: string, revision: string, options: HubOptions): Promise<Snapshot> {
  const what = `the ${kind === "model" ? "model" : "data set"} ${id}`;
  const transport = makeTransport(checkId(id, what), what, options);
  checkRevision(revision, what);
  const home = options.cache.folder(`${kind}s--${id.replaceAll("/", "--")}`);
  const offline = options.offline ?? false;
  const commit = await resolveCommit(kind, id, revision, home, transport, offline);
  const files = await listing(kind, id, commit, home, transport, offline);
  return {
    commit,
    files,
    home,
    transport,
    options,
    folder: home.folder(`snapshots/${commit}`),
    base: `${transport.hubUrl}/${kind === "model" ? "" : "datasets/"}${id}/resolve/${commit}`,
  };
}

/** Downloads the files that the cache does not have yet. */
export async function fetchFiles(snapshot: Snapshot, files: readonly RemoteFile[]): Promise<void> {
  const { folder, transport, base, options } = snapshot;
  const totalSize = files.reduce((sum, { size }) => sum + size, 0);
  let before = 0;
  for (const file of files) {
    const report = (received: number) =>
      options.onProgress?.({
        file: file.path,
        received,
        size: file.size,
        totalReceived: before + received,
        totalSize,
      });
    if (!(await isCached(folder, file))) {
      if (options.offline) {
        throw new NotFoundError(
          `Cannot fetch ${file.path} of ${transport.what}: it is not in the cache ${folder.path}, and HF_HUB_OFFLINE forbids the network`,
        );
      }
      // two processes that need the same file share its download: the second finds it complete
      await exclusively(
        folder,
        file.path,
        "download",
        async () => {
          if (!(await isCached(folder, file))) {
            await downloadFile(transport, urlOf(base, file), file, folder, report);
          }
        },
        {
          signal: options.signal,
          onWait: ({ id, host }) =>
            options.onNote?.(
              `${file.path} of ${transport.what} is being downloaded by process ${id} of ${host}: waiting for it`,
            ),
        },
      );
    } else await noted(forgetDead(folder, file.path)); // a process may have been killed right after its download
    report(file.size);
    before += file.size;
  }
}

/** The URL of a snapshot's file. */
export function urlOf(base: string, file: RemoteFile): string {
  return `${base}/${file.path.split("/").map(encodeURIComponent).join("/")}`;
}

/** A file gets its final name only after its hash was checked, so name and size are sufficient. */
export async function isCached(folder: Folder, file: RemoteFile): Promise<boolean> {
  return (await folder.exists(file.path)) && (await folder.open(file.path)).size === file.size;
}

/** The shared settings of a call's requests. @throws {RecipeError} an invalid token or URL */
export function makeTransport(id: string, what: string, options: Omit<HubOptions, "cache" | "onProgress">): Transport {
  const token = options.token?.trim() || undefined;
  // fetch would refuse a header with such characters, with the token in its message.
  if (token && !/^[\x21-\x7e]+$/.test(token)) {
    throw new RecipeError(
      `Cannot use the access token for ${id}: it has spaces, line breaks or characters beyond ASCII`,
    );
  }
  let url: URL;
  try {
    url = new URL(options.hubUrl || HUB_URL);
  } catch {
    throw new RecipeError(`Cannot use the hub URL ${show(options.hubUrl)}: it is not a URL`);
  }
  if (!/^https?:$/.test(url.protocol) || url.username || url.password) {
    throw new RecipeError(`Cannot use the hub URL ${url.origin}: it must be http(s), without a user or password in it`);
  }
  return {
    hubUrl: (url.origin + url.pathname).replace(/\/+$/, ""),
    token,
    signal: options.signal,
    // Call it as a plain function: browsers refuse fetch with another object as `this`.
    fetch: options.fetch ?? ((input, init) => fetch(input, init)),
    retry: { ...RETRY, ...options.retry },
    conditional: options.conditional ?? true,
    what,
  };
}

/** @throws {RecipeError} a name that is not a hub id */
export function checkId(id: string, what: string): string {
  const part = "[A-Za-z0-9_][A-Za-z0-9._-]*";
  if (!new RegExp(`^${part}(/${part})?$`).test(id) || id.includes("..") || id.includes("--")) {
    throw new RecipeError(`Cannot use ${what}: a hub id must be owner/name, with letters, digits, "-", "_" and "."`);
  }
  return id;
}

function checkRevision(revision: string, what: string): void {
  if (!/^[A-Za-z0-9._/+-]+$/.test(revision) || revision.split("/").some((part) => /^\.*$/.test(part))) {
    throw new RecipeError(`Cannot fetch ${what}: ${show(revision)} is not a branch, tag or commit`);
  }
}

async function resolveCommit(
  kind: Kind,
  id: string,
  revision: string,
  home: Folder,
  transport: Transport,
  offline: boolean,
) {
  if (COMMIT.test(revision) && (await isKnown(home, revision))) return revision;
  const ref = `refs/${revision}`;
  if (offline) {
    const commit = await cachedCommit(home, ref);
    if (commit) return commit;
    throw new NotFoundError(
      `Cannot fetch ${transport.what}: the cache ${home.path} has no revision ${revision} of it, and HF_HUB_OFFLINE forbids the network`,
    );
  }
  try {
    const params = { name: id, revision, hubUrl: transport.hubUrl, fetch: hubFetch(transport) };
    const info = await fromHub(transport, () =>
      kind === "model"
        ? modelInfo({ ...params, additionalFields: ["sha"] })
        : datasetInfo({ ...params, additionalFields: ["sha"] }),
    );
    const commit: unknown = info.sha;
    if (typeof commit !== "string" || !COMMIT.test(commit)) {
      throw new FormatError(`Cannot fetch ${transport.what}: the hub returned no commit for the revision ${revision}`);
    }
    const known = (await home.exists(ref)) ? await home.readText(ref) : "";
    if (known !== commit) await noted(home.write(ref, commit));
    return commit;
  } catch (error) {
    const commit = error instanceof NetworkError ? await cachedCommit(home, ref) : null;
    if (!commit) throw error;
    return commit;
  }
}
