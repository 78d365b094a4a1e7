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

/** How a download stands; bytes. */
export interface HubProgress {
  /** the file that is arriving */
  file: string;
  received: number;
  size: number;
  /** of all files of this call, those found in the cache included */
  totalReceived: number;
  totalSize: number;
}

/** What every hub call takes. */
export interface HubOptions {
  /** where files are kept: `models--{owner}--{name}/snapshots/{commit}/…`, the layout of Hugging Face's own cache */
  cache: Folder;
  /** branch, tag or commit; default `main` */
  revision?: string | undefined;
  /** access token; sent to `hubUrl` only, never to the CDN, never part of a message */
  token?: string | undefined;
  /** root of the hub or of a mirror; the CLI reads `HF_ENDPOINT` */
  hubUrl?: string | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: HubProgress) => void) | undefined;
  fetch?: typeof fetch | undefined;
  /**
   * whether a download that goes on sends If-Range; default true. A browser must ask the CDN's leave for such a header, and
   * is not sure to get it; without, ETag and hash still tell when two halves do not belong together.
   */
  conditional?: boolean | undefined;
  retry?: Partial<RetryPolicy> | undefined;
  /** ask no network: the cache has it, or it is refused; the CLI reads `HF_HUB_OFFLINE` */
  offline?: boolean | undefined;
  /** told what the user should know, such as who is waited for */
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

/** What a model needs besides its weights; absent ones are passed over. */
const MODEL_FILES = new Set([
  ..."config.json generation_config.json tokenizer.json tokenizer_config.json special_tokens_map.json".split(" "),
  ..."added_tokens.json vocab.json merges.txt chat_template.jinja chat_template.json adapter_config.json".split(" "),
  INDEX_FILE,
]);

/**
 * Downloads a model (or an adapter) of the Hugging Face hub: config, tokenizer, and safetensors weights, one file or
 * shards. What the cache has is not fetched again; a commit that it has whole needs no network at all, and a branch
 * falls back on the last known commit when the hub cannot be reached.
 *
 * @param id `owner/name`
 * @returns the folder of this commit, for `openCheckpoint` or `readAdapter`
 * @throws {NotFoundError} when there is no such model, or it is gated or private
 * @throws {UnsupportedError} when it has no safetensors weights
 * @throws {NetworkError} after the retries; a later call goes on from what arrived
 * @throws {FormatError} when a file is not the size or the hash of the listing
 * @throws {RecipeError} for an id, revision, token or URL that cannot be one
 */
export async function downloadModel(id: string, options: HubOptions): Promise<Folder> {
  const snapshot = await openSnapshot("model", id, options.revision ?? "main", options);
  const { small, weights } = await modelFiles(id, snapshot);
  await fetchFiles(snapshot, [...small, ...weights]);
  return snapshot.folder;
}

/**
 * The files of a model that Qwench reads. Fetches the index of a sharded one, which names the rest.
 *
 * @throws {NotFoundError} a shard that the index names is missing
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
          `Cannot download ${id}: ${INDEX_FILE} puts ${tensors[0]} in ${shard}, which is missing`,
        );
      }
      weights.push(file);
    }
  } else if (weights.length === 0) {
    const has = snapshot.files.map((file) => file.path).slice(0, 12);
    if (snapshot.options.offline) {
      throw new NotFoundError(
        `Cannot load ${id}: the cache ${snapshot.folder.path} has no weights of it (${has.join(", ") || "no file"}), and the network is not to be used (HF_HUB_OFFLINE)`,
      );
    }
    throw new UnsupportedError(
      `Cannot download ${id}: Qwench reads ${WEIGHTS_FILE} or ${INDEX_FILE}, and the model has ${has.join(", ") || "no file"}`,
    );
  }
  return { small, weights };
}

/**
 * Finds out which commit a revision is, and which files it has.
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

/** Downloads those of `files` that the cache does not have yet. */
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
          `Cannot fetch ${file.path} of ${transport.what}: it is not in the cache ${folder.path}, and the network is not to be used (HF_HUB_OFFLINE)`,
        );
      }
      // two processes that want one file share its download: the second finds it whole
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

/** Where a file of a snapshot lies. */
export function urlOf(base: string, file: RemoteFile): string {
  return `${base}/${file.path.split("/").map(encodeURIComponent).join("/")}`;
}

/** A file gets its name only after its hash was checked, so that name and size are enough. */
export async function isCached(folder: Folder, file: RemoteFile): Promise<boolean> {
  return (await folder.exists(file.path)) && (await folder.open(file.path)).size === file.size;
}

/** What a call's requests share. @throws {RecipeError} a token or URL that cannot be one */
export function makeTransport(id: string, what: string, options: Omit<HubOptions, "cache" | "onProgress">): Transport {
  const token = options.token?.trim() || undefined;
  // A header with such characters is refused by fetch, with the token in the message.
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
    // Called as a plain function: browsers refuse a fetch whose `this` is another object.
    fetch: options.fetch ?? ((input, init) => fetch(input, init)),
    retry: { ...RETRY, ...options.retry },
    conditional: options.conditional ?? true,
    what,
  };
}

/** @throws {RecipeError} a name that is no hub id */
export function checkId(id: string, what: string): string {
  const part = "[A-Za-z0-9_][A-Za-z0-9._-]*";
  if (!new RegExp(`^${part}(/${part})?$`).test(id) || id.includes("..") || id.includes("--")) {
    throw new RecipeError(`Cannot use ${what}: a hub id is owner/name, of letters, digits, "-", "_" and "."`);
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
      `Cannot fetch ${transport.what}: the cache ${home.path} has no revision ${revision} of it, and the network is not to be used (HF_HUB_OFFLINE)`,
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
      throw new FormatError(`Cannot fetch ${transport.what}: the hub names no commit for the revision ${revision}`);
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
