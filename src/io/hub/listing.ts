import { listFiles } from "@huggingface/hub";
import { FormatError, NetworkError, QwenchError } from "../../errors.ts";
import { oneLine } from "../../text/show.ts";
import { parseJsonObject } from "../checkpoint.ts";
import { hubFetch, type Transport } from "../http.ts";
import { checkFileName, portableFault } from "../names.ts";
import type { Folder } from "../storage.ts";
import type { RemoteFile } from "./download.ts";

export type Kind = "model" | "dataset";
const MAX_FILES = 100_000;
/** The hub lists a thousand entries per page, or fifty with their commits. */
const MAX_PAGES = 4_000;
export const COMMIT = /^[0-9a-f]{40}$/;

/** The commit of a branch or tag in the cache (Qwench's or Python's), or null. */
export async function cachedCommit(home: Folder, ref: string): Promise<string | null> {
  if (!(await home.exists(ref))) return null;
  const commit = (await home.readText(ref)).trim();
  return COMMIT.test(commit) && (await isKnown(home, commit)) ? commit : null;
}

export async function isKnown(home: Folder, commit: string): Promise<boolean> {
  if (await home.exists(manifestOf(commit))) return true;
  return (await home.folder("snapshots").folders()).includes(commit);
}

/** A read-only cache still works: data that cannot be stored are requested again next time. */
export async function noted(work: Promise<void>): Promise<void> {
  await work.catch(() => {});
}

const manifestOf = (commit: string) => `listings/${commit}.json`;
/** Deepest folder nesting of a snapshot. */
const MOST_DEPTH = 8;

/** The cached files of a snapshot: Python's libraries store no listing. */
async function filesIn(folder: Folder, prefix = "", depth = 0): Promise<RemoteFile[]> {
  const files: RemoteFile[] = [];
  for (const name of await folder.list()) files.push({ path: prefix + name, size: (await folder.open(name)).size });
  if (depth >= MOST_DEPTH) return files;
  for (const name of await folder.folders()) {
    files.push(...(await filesIn(folder.folder(name), `${prefix}${name}/`, depth + 1)));
  }
  return files;
}

/** The files of a commit, from the cache if an earlier call stored them: a commit never changes. */
export async function listing(
  kind: Kind,
  id: string,
  commit: string,
  home: Folder,
  transport: Transport,
  offline: boolean,
): Promise<RemoteFile[]> {
  const manifest = manifestOf(commit);
  if (await home.exists(manifest)) {
    const { files } = parseJsonObject(await home.readText(manifest), `${home.path}/${manifest}`);
    if (Array.isArray(files)) return files.map((entry) => checkEntry(entry, transport));
  }
  const present = () => filesIn(home.folder("snapshots").folder(commit));
  if (offline) return present();
  let files: RemoteFile[];
  try {
    files = await listOnHub(kind, id, commit, transport);
  } catch (error) {
    const found = error instanceof NetworkError ? await present() : [];
    if (found.length === 0) throw error;
    return found;
  }
  await noted(home.write(manifest, JSON.stringify({ files }, null, 1)));
  return files;
}

/** Most characters of all paths of a listing: about a hundred per file, for the largest number of files. */
const MOST_LISTED = 20_000_000;

async function listOnHub(kind: Kind, id: string, commit: string, transport: Transport): Promise<RemoteFile[]> {
  return fromHub(transport, async () => {
    const found: RemoteFile[] = [];
    let entriesSeen = 0;
    let listed = 0;
    let pages = 0;
    const get = hubFetch(transport);
    const page: typeof fetch = (input, init) => {
      if (++pages > MAX_PAGES)
        throw new FormatError(`Cannot list ${transport.what}: its listing has more than ${MAX_PAGES} pages`);
      return get(input, init);
    };
    const entries = listFiles({
      repo: { type: kind, name: id },
      revision: commit,
      recursive: true,
      hubUrl: transport.hubUrl,
      fetch: page,
    });
    for await (const { type, path, size, oid, lfs } of entries) {
      entriesSeen++;
      listed += String(path).length;
      // folders count too: a listing of only folders could be endless
      if (entriesSeen > MAX_FILES || listed > MOST_LISTED) {
        throw new FormatError(
          `Cannot list ${transport.what}: it has over ${MAX_FILES} files, or too many characters in their names`,
        );
      }
      // skip files with names that some file systems refuse: the rest of the repository is still usable
      if (type !== "file" || String(path).split("/").some(portableFault)) continue;
      found.push(
        checkEntry({ path, size: lfs?.size ?? size, sha256: lfs?.oid, oid: lfs ? undefined : oid }, transport),
      );
    }
    return found;
  });
}

function checkEntry(entry: RemoteFile, { what, hubUrl }: Transport): RemoteFile {
  const { path, size, sha256, oid } = entry;
  checkFileName(path, `${what}, as ${hubUrl} lists it`);
  const sized = Number.isSafeInteger(size) && size >= 0;
  const hashed = (sha256 === undefined || /^[0-9a-f]{64}$/.test(sha256)) && (oid === undefined || COMMIT.test(oid));
  if (!sized || !hashed) throw new FormatError(`Cannot list ${what}: size ${size} or hash of ${path} is malformed`);
  return { path, size, sha256, oid };
}

/** Runs a call of the hub library; an unexpected answer becomes a FormatError. */
export async function fromHub<T>(transport: Transport, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (error instanceof QwenchError) throw error;
    const why = (error as Error).message;
    throw new FormatError(`Cannot fetch ${transport.what}: the hub's answer does not match its API (${oneLine(why)})`, {
      cause: error,
    });
  }
}
