import { accessSync, constants, existsSync, mkdirSync, readFileSync } from "node:fs";
import { homedir, tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { NetworkError, NotFoundError } from "../../errors.ts";
import type { HubOptions, HubProgress } from "../../io/hub/hub.ts";
import type { Folder } from "../../io/storage.ts";
import { nodeFolder } from "../../platform/node/fs.ts";

type Env = Record<string, string | undefined>;

/** The hub's configuration from the environment. */
export interface CliHub extends HubOptions {
  /** a read-only cache, searched first */
  readOnly?: Folder | null;
}

/** Hugging Face's home folder, chosen by the rules of Hugging Face's libraries. */
function hubHome(env: Env): string {
  let home = env.HOME;
  if (!home) {
    try {
      home = homedir();
    } catch {
      home = tmpdir(); // the user has no home, as in some containers
    }
  }
  return env.HF_HOME ?? join(env.XDG_CACHE_HOME ?? join(home, ".cache"), "huggingface");
}

/** The download cache: HF_HOME's hub folder, chosen by the rules of Hugging Face's libraries. */
export function cacheFolder(env: Env = process.env): string {
  return env.HF_HUB_CACHE ?? env.HUGGINGFACE_HUB_CACHE ?? join(hubHome(env), "hub");
}

/** The access token from the environment, else from the file that `hf auth login` writes. */
export function hubToken(env: Env = process.env): string | undefined {
  const said = (env.HF_TOKEN ?? env.HUGGING_FACE_HUB_TOKEN)?.trim();
  if (said) return said;
  try {
    return readFileSync(env.HF_TOKEN_PATH ?? join(hubHome(env), "token"), "utf8").trim() || undefined;
  } catch {
    return undefined;
  }
}

const isOn = (value: string | undefined) => /^(1|true|yes|on)$/i.test(value?.trim() ?? "");

function isWritable(path: string): boolean {
  try {
    mkdirSync(path, { recursive: true });
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

const told = new Set<string>();

/** Prints a message once per process. */
function tell(text: string): void {
  if (told.has(text)) return;
  told.add(text);
  console.error(`note: ${text}`);
}

/** Options for every hub call. The token is never printed. */
export function hubOptions(
  signal: AbortSignal | undefined,
  onProgress: (progress: HubProgress) => void,
  env: Env = process.env,
): CliHub {
  const wanted = cacheFolder(env);
  const offline = isOn(env.HF_HUB_OFFLINE) || isOn(env.TRANSFORMERS_OFFLINE);
  const token = hubToken(env);
  let cache = wanted;
  let readOnly: Folder | null = null;
  if (!isWritable(wanted)) {
    if (existsSync(wanted)) readOnly = nodeFolder(wanted);
    if (!offline) {
      cache = join(tmpdir(), `qwench-hub-${userName()}`);
      tell(`${wanted} cannot be written, so downloads go to ${cache}; set HF_HOME to a folder that can`);
    }
  }
  if (token && !offline) warnOfOpenDoors(env);
  return {
    cache: nodeFolder(cache),
    readOnly,
    token,
    hubUrl: env.HF_ENDPOINT,
    offline,
    signal,
    onProgress,
    onNote: tell,
  };
}

function userName(): string {
  try {
    return userInfo().username.replace(/[^\w-]/g, "_");
  } catch {
    return String(process.getuid?.() ?? "user");
  }
}

/** Warns if others could read the token. */
function warnOfOpenDoors(env: Env): void {
  const endpoint = env.HF_ENDPOINT ?? "";
  if (/^http:\/\/(?!localhost[:/]|localhost$|127\.|\[::1\])/i.test(endpoint)) {
    tell(`the access token is sent to ${endpoint} unencrypted: use https in HF_ENDPOINT, or unset HF_TOKEN`);
  }
  if (env.NODE_TLS_REJECT_UNAUTHORIZED === "0") {
    tell("NODE_TLS_REJECT_UNAUTHORIZED=0: anyone on the network path can read the access token and change downloads");
  }
}

/** Gets something from the read-only cache if it is there, else from the hub. */
export async function fromHub<T>(hub: CliHub, take: (options: HubOptions) => Promise<T>): Promise<T> {
  const { readOnly, ...options } = hub;
  if (!readOnly) return take(options);
  try {
    return await take({ ...options, cache: readOnly, offline: true });
  } catch (error) {
    if (options.offline || !(error instanceof NotFoundError || error instanceof NetworkError)) throw error;
    return take(options);
  }
}

/** The folder of the model in a repository's folder of the cache, `models--owner--name`, or the folder itself. */
export function snapshotIn(path: string): string {
  if (!existsSync(join(path, "snapshots")) || !existsSync(join(path, "refs"))) return path;
  const ref = join(path, "refs", "main");
  const commit = existsSync(ref) ? readFileSync(ref, "utf8").trim() : null;
  const snapshot = commit && /^[0-9a-f]{40}$/.test(commit) ? join(path, "snapshots", commit) : null;
  if (!snapshot || !existsSync(snapshot)) {
    throw new NotFoundError(`Cannot load ${path}: this folder of the hub's cache has no snapshot of the branch main`);
  }
  return snapshot;
}

/** Converts the name of a repository's cache folder to a hub id: `models--owner--name` is `owner/name`. */
export function hubName(name: string): string {
  const match = /^(?:models|datasets)--([\w.-]+?)--([\w.-]+)$/.exec(name);
  return match ? `${match[1]}/${match[2]}` : name;
}
