import { FormatError, QwenchError } from "../../errors.ts";
import { parseBoundedJson } from "../../text/bounded-json.ts";
import { notData } from "../../text/not-data.ts";
import { CutError, type OpenResponse, open, type Transport, withRetries } from "../http.ts";
import { type AppendableFolder, concat, isAppendable } from "../memory-folder.ts";
import { Sha256 } from "../sha256.ts";
import type { Folder } from "../storage.ts";

/** A file of a hub repository, as its listing describes it. */
export interface RemoteFile {
  /** relative, with `/` */
  path: string;
  /** bytes */
  size: number;
  /** hex, for files in large-file storage */
  sha256?: string | undefined;
  /** hex git blob id, for other files */
  oid?: string | undefined;
}

const FLUSH_BYTES = 4 * 1024 * 1024;
/**
 * Files without a sha256 are small on the hub; above this size, the git id is not checked, because that needs all
 * bytes.
 */
const MAX_BLOB_BYTES = 64 * 1024 * 1024;

/** The state of a download. */
interface State {
  received: number;
  hash: Sha256;
  etag: string | undefined;
  /** whether bytes of more than one response were joined */
  joined: boolean;
}

/** Bytes on disk that do not match the server's current file. */
class StaleError extends Error {}

/**
 * Downloads one file into `folder` under its own path. The bytes are written to `{path}.part` as they arrive (if the
 * folder can append); a later call resumes there, with Range and If-Range. Size and hash are checked before the file is
 * renamed, so that a file with its final name is complete.
 *
 * @param onBytes called with the number of bytes of this file so far
 * @throws {FormatError} when size or hash differ from the listing; the bytes are then deleted
 * @throws {NetworkError} after the retries; received bytes are kept for the next call
 */
export async function downloadFile(
  transport: Transport,
  url: string,
  file: RemoteFile,
  folder: Folder,
  onBytes: (received: number) => void = () => {},
): Promise<void> {
  const what = `${file.path} of ${transport.what}`;
  for (let restarts = 0; ; restarts++) {
    try {
      if (isAppendable(folder)) await throughPart(transport, url, file, folder, onBytes, what);
      else await folder.write(file.path, atOnce(transport, url, file, onBytes, what));
      return;
    } catch (error) {
      const stale = error instanceof StaleError;
      if ((stale || error instanceof FormatError) && isAppendable(folder)) await removePart(folder, file);
      if (!stale) throw error;
      if (restarts >= 2) throw new FormatError(`Cannot download ${what}: ${error.message}, again after a fresh start`);
    }
  }
}

const partOf = (file: RemoteFile) => `${file.path}.part`;
const notesOf = (file: RemoteFile) => `${file.path}.part.json`;

async function removePart(folder: Folder, file: RemoteFile): Promise<void> {
  if (await folder.exists(partOf(file))) await folder.remove(partOf(file));
  if (await folder.exists(notesOf(file))) await folder.remove(notesOf(file));
}

async function throughPart(
  transport: Transport,
  url: string,
  file: RemoteFile,
  folder: AppendableFolder,
  onBytes: (received: number) => void,
  what: string,
): Promise<void> {
  const part = partOf(file);
  const state = await resume(folder, file);
  onBytes(state.received);
  if (state.received === 0) await folder.appendBytes(part, new Uint8Array());
  const waiting: Uint8Array[] = [];
  let bytes = 0;
  let stored = state.received;
  const flush = async () => {
    if (bytes === 0) return;
    const block = concat(waiting.splice(0));
    bytes = 0;
    await folder.appendBytes(part, block);
    stored += block.length;
    const { size } = await folder.open(part);
    if (size !== stored) {
      throw new QwenchError(
        `Cannot download ${what}: ${folder.path}/${part} has ${size} bytes, but ${stored} were written: another process may be downloading it`,
      );
    }
  };
  const noteEtag = (etag: string | undefined) => folder.write(notesOf(file), JSON.stringify(notes(file, etag)));
  try {
    for await (const chunk of pull(transport, url, file, state, what, noteEtag)) {
      waiting.push(chunk);
      bytes += chunk.length;
      onBytes(state.received);
      if (bytes >= FLUSH_BYTES) await flush();
    }
  } catch (error) {
    // The next start resumes from the bytes that arrived; a full disk is the error to report.
    if (!(error instanceof StaleError)) await flush().catch(() => {});
    throw error;
  }
  await flush();
  await verify(file, state, what, async () => {
    const source = await folder.open(part);
    return source.read(0, source.size);
  });
  await folder.rename(part, file.path);
  await folder.remove(notesOf(file));
}

/** For a folder that cannot append: a single write, checked before its last byte is passed on. */
async function* atOnce(
  transport: Transport,
  url: string,
  file: RemoteFile,
  onBytes: (received: number) => void,
  what: string,
): AsyncGenerator<Uint8Array> {
  const state: State = { received: 0, hash: new Sha256(), etag: undefined, joined: false };
  const small = file.sha256 === undefined && file.size <= MAX_BLOB_BYTES;
  const kept: Uint8Array[] = [];
  for await (const chunk of pull(transport, url, file, state, what, async () => {})) {
    if (small) kept.push(chunk);
    onBytes(state.received);
    yield chunk;
  }
  await verify(file, state, what, async () => concat(kept));
}

interface Notes {
  size: number;
  id: string;
  etag?: string | undefined;
}

const notes = (file: RemoteFile, etag: string | undefined): Notes => ({
  size: file.size,
  id: file.sha256 ?? file.oid ?? "",
  etag,
});

/** Resumes the `.part` of an earlier call if it belongs to the same content. */
async function resume(folder: Folder, file: RemoteFile): Promise<State> {
  const state: State = { received: 0, hash: new Sha256(), etag: undefined, joined: false };
  if (!(await folder.exists(partOf(file)))) return state;
  const wanted = notes(file, undefined);
  const found = await readNotes(folder, file);
  const source = await folder.open(partOf(file));
  // Without a content id or an ETag, the rest may not match.
  const same = found && found.size === wanted.size && found.id === wanted.id && (wanted.id || found.etag);
  if (!same || source.size > file.size) {
    await removePart(folder, file);
    return state;
  }
  for (let at = 0; at < source.size; at += FLUSH_BYTES) {
    const block = await source.read(at, Math.min(at + FLUSH_BYTES, source.size));
    if (file.sha256) state.hash.update(block);
  }
  return { ...state, received: source.size, etag: found.etag, joined: source.size > 0 };
}

async function readNotes(folder: Folder, file: RemoteFile): Promise<Notes | undefined> {
  try {
    return parseBoundedJson(await folder.readText(notesOf(file))) as Notes;
  } catch {
    return undefined; // absent or incomplete: restart the part
  }
}

/** Yields the bytes from `state.received` to the end, over as many connections as necessary. */
async function* pull(
  transport: Transport,
  url: string,
  file: RemoteFile,
  state: State,
  what: string,
  noteEtag: (etag: string | undefined) => Promise<void>,
): AsyncGenerator<Uint8Array> {
  if (file.size === 0) return;
  let opened: OpenResponse | undefined;
  let skip = 0;
  // A generator cannot yield inside withRetries, so each piece is a separate call with retries.
  const piece = async (): Promise<Uint8Array | undefined> => {
    if (!opened) ({ opened, skip } = await connect(transport, url, file, state, noteEtag));
    try {
      for (;;) {
        const chunk = await opened.next();
        if (!chunk) {
          if (state.received >= file.size) return undefined;
          throw new CutError(`the connection ended at byte ${state.received} of ${file.size}`);
        }
        if (chunk.length > skip) {
          const rest = chunk.subarray(skip);
          skip = 0;
          return rest;
        }
        skip -= chunk.length;
      }
    } catch (error) {
      opened.cancel();
      opened = undefined;
      throw error;
    }
  };
  try {
    while (state.received < file.size) {
      const chunk = await withRetries(transport, what, piece);
      if (!chunk) return;
      state.received += chunk.length;
      if (state.received > file.size) {
        throw new FormatError(`Cannot download ${what}: the listing says ${file.size} bytes, but more arrived`);
      }
      if (file.sha256) state.hash.update(chunk);
      yield chunk;
    }
  } finally {
    (opened as OpenResponse | undefined)?.cancel();
  }
}

/** Opens a connection for the bytes from `state.received` on; `skip`: bytes to drop if the response starts at 0. */
async function connect(
  transport: Transport,
  url: string,
  file: RemoteFile,
  state: State,
  noteEtag: (etag: string | undefined) => Promise<void>,
): Promise<{ opened: OpenResponse; skip: number }> {
  const from = state.received;
  // Compressed answers have other sizes than the listing; browsers do not allow this header, and do not need it.
  const headers: Record<string, string> = { "Accept-Encoding": "identity" };
  if (from > 0) {
    headers.Range = `bytes=${from}-`;
    if (state.etag && transport.conditional) headers["If-Range"] = state.etag;
  }
  const opened = await open(transport, url, headers);
  const { response } = opened;
  const give = (error: Error): never => {
    opened.cancel();
    throw error;
  };
  const etag = strong(response.headers.get("ETag"));
  if (response.status === 416) {
    give(
      new StaleError(
        `the server has fewer than the ${from} bytes already downloaded, but the listing says ${file.size}`,
      ),
    );
  }
  const changed = state.etag !== undefined && etag !== undefined && etag !== state.etag;
  if (changed) give(new StaleError(`the file changed on the server (ETag ${state.etag}, now ${etag})`));
  const plain = !response.headers.get("Content-Encoding");
  const length = response.headers.get("Content-Length");
  const total = plain && length !== null ? Number(length) + (response.status === 206 ? from : 0) : file.size;
  if (response.status === 206) {
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get("Content-Range") ?? "");
    // A browser may hide Content-Range from scripts; then the hash decides.
    if (range && Number(range[1]) !== from) give(new CutError(`requested bytes from ${from}, got ${range[0]}`));
  }
  if (total > file.size) {
    const said = `the listing says ${file.size} bytes, but the server has ${total}`;
    give(
      from > 0 ? new StaleError(said) : new FormatError(`Cannot download ${file.path} of ${transport.what}: ${said}`),
    );
  }
  const page = /^text\/html\b/i.test(response.headers.get("Content-Type") ?? "") && !/\.html?$/i.test(file.path);
  if (from === 0 && (total < file.size || page)) await refuseOther(opened, file, transport, total);
  if (from > 0) state.joined = true;
  if (etag !== state.etag) {
    state.etag = etag;
    await noteEtag(etag);
  } else if (from === 0) await noteEtag(etag);
  return { opened, skip: response.status === 206 ? 0 : from };
}

/** Bytes of a body that are inspected to identify it. */
const LOOK_BYTES = 2048;

/** Refuses a web page, or a body that its own headers make shorter than the listing: a retry would give the same. */
async function refuseOther(opened: OpenResponse, file: RemoteFile, { what }: Transport, total: number): Promise<never> {
  const parts: Uint8Array[] = [];
  for (let size = 0; size < LOOK_BYTES; ) {
    const part = await opened.next().catch(() => undefined);
    if (!part) break;
    parts.push(part);
    size += part.length;
  }
  opened.cancel();
  const kind = notData(concat(parts)) ?? "another file";
  throw new FormatError(
    `Cannot download ${file.path} of ${what}: the listing says ${file.size} bytes, but the server sends ${total}; the content is ${kind}. A proxy or a mirror may be in between`,
  );
}

/** A weak ETag does not guarantee identical bytes, so it cannot join two halves. */
function strong(etag: string | null): string | undefined {
  return etag && /^"[^"]*"$/.test(etag) ? etag : undefined;
}

async function verify(file: RemoteFile, state: State, what: string, whole: () => Promise<Uint8Array>): Promise<void> {
  const fail = (message: string) => {
    if (state.joined) throw new StaleError(message);
    throw new FormatError(`Cannot download ${what}: ${message}; the bytes were deleted`);
  };
  if (state.received !== file.size) fail(`the listing says ${file.size} bytes, but ${state.received} arrived`);
  if (file.sha256) {
    const got = state.hash.hex();
    if (got !== file.sha256) fail(`the listing says sha256 ${file.sha256}, but the bytes have ${got}`);
  } else if (file.oid && file.size <= MAX_BLOB_BYTES && globalThis.crypto?.subtle) {
    const got = await gitBlobId(await whole());
    if (got !== file.oid) fail(`the listing says git id ${file.oid}, but the bytes have ${got}`);
  }
}

/** The git id of a file with these bytes: SHA-1 over `blob {length}\0` and the bytes. */
async function gitBlobId(bytes: Uint8Array): Promise<string> {
  const head = new TextEncoder().encode(`blob ${bytes.length}\0`);
  const digest = await crypto.subtle.digest("SHA-1", concat([head, bytes]) as BufferSource);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
