import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { FormatError, GpuError } from "../../errors.ts";
import { writableCache } from "./cache-folder.ts";
import { takeFileLock } from "./lock.ts";
import { fetchPackage, type NpmPackage } from "./npm-package.ts";

const PACKAGE = "@sparticuz/chromium";
const ARCHIVE = "swiftshader.tar.br";
/** Milliseconds between checks whether another process has finished the download. */
const WAIT_MS = 500;
const DRIVER = "libvk_swiftshader.so";
const LOADER = "libvulkan.so.1";
const MANIFEST = "vk_swiftshader_icd.json";

/** Google's software Vulkan driver, unpacked: absolute paths. */
export interface SwiftShader {
  /** manifest for `VK_ICD_FILENAMES` */
  manifest: string;
  /** a Vulkan loader for machines that have none */
  loader: string;
}

/** Source of SwiftShader if the package is not installed: a 65 MB download, of which 7 MB are kept. */
const PINNED: NpmPackage = {
  name: PACKAGE,
  version: "143.0.4",
  integrity: "sha512-/6I7uQTRhRDD2/gGPQ1Gkf+Dqk0RYDACPJDZfSzz0OWk4JmUTonNHPXbrn6UIklOHlnDLf8xAAzkOZKB/cJpLA==",
};

interface SwiftShaderOptions {
  /**
   * folder for `swiftshader-<version>`; default `$XDG_CACHE_HOME/qwench`, else `~/.cache/qwench`, else a private temporary
   * folder
   */
  cache?: string;
  /** receives a line before a download; default console.error */
  warn?: (line: string) => void;
  /** folder of the installed package `@sparticuz/chromium`, null: none; default: looked for */
  installed?: string | null;
  /** supplies the package's tarball if the package is not installed; default: from npm */
  download?: (wanted: NpmPackage) => Promise<Uint8Array>;
}

/**
 * Unpacks SwiftShader from the package `@sparticuz/chromium` into the user's cache folder, once per version. If the package is
 * not installed, downloads it from npm first. Concurrent processes share one download; each unpacks under its own name and
 * renames the result.
 *
 * @throws {GpuError} if the package has no libraries for this machine
 * @throws {NetworkError} if the download fails
 */
export async function unpackSwiftShader(options: SwiftShaderOptions = {}): Promise<SwiftShader> {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new GpuError(
      `Cannot use SwiftShader: its binaries are for linux x64, this is ${process.platform} ${process.arch}`,
    );
  }
  const { installed = packageFolder() } = options;
  const version = installed ? versionOf(installed) : PINNED.version;
  const folder = join(options.cache ?? writableCache(), `swiftshader-${version}`);
  if (!isComplete(folder)) {
    if (installed) unpackInto(folder, version, readFileSync(join(installed, "bin", ARCHIVE)));
    else await fetchInto(folder, options);
  }
  return { manifest: join(folder, MANIFEST), loader: join(folder, LOADER) };
}

/** Downloads the package while other processes wait. */
async function fetchInto(folder: string, { warn = console.error, download = fetchPackage }: SwiftShaderOptions) {
  const what = "fetching SwiftShader";
  for (let told = false; ; told = true) {
    const lock = await takeFileLock(`${folder}.lock`, what);
    if ("release" in lock) {
      try {
        if (isComplete(folder)) return; // another process has finished first
        const { version } = PINNED;
        warn(
          `No Vulkan driver, or no loader, found: ${what}, a software renderer, once (65 MB, npm's ${PACKAGE} ${version})`,
        );
        const archive = readTar(gunzipSync(await download(PINNED))).get(ARCHIVE);
        if (!archive) throw new FormatError(`Cannot unpack ${PACKAGE} ${version}: it holds no ${ARCHIVE}`);
        return unpackInto(folder, version, archive);
      } finally {
        await lock.release();
      }
    }
    if (!told) warn(`Waiting for process ${lock.owner.id}, which is ${lock.owner.what}`);
    await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
    if (isComplete(folder)) return;
  }
}

function unpackInto(folder: string, version: string, archive: Uint8Array): void {
  const files = readTar(brotliDecompressSync(archive));
  const fresh = mkdtempSync(`${folder}.`);
  try {
    for (const name of [DRIVER, LOADER, MANIFEST]) {
      const bytes = files.get(name);
      if (!bytes) throw new FormatError(`Cannot unpack ${PACKAGE} ${version}: ${ARCHIVE} holds no ${name}`);
      writeFileSync(join(fresh, name), bytes);
    }
    if (existsSync(folder)) rmSync(folder, { recursive: true, force: true }); // an incomplete earlier attempt
    renameSync(fresh, folder);
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true });
    if (!isComplete(folder)) throw error; // otherwise another process has finished first
  }
}

/** The folder of the installed package, if any: beside Qwench, or in the user's current folder. */
function packageFolder(): string | null {
  for (const from of [import.meta.url, join(process.cwd(), "package.json")]) {
    try {
      return dirname(dirname(dirname(createRequire(from).resolve(PACKAGE)))); // …/build/cjs/index.cjs
    } catch {
      // not found from there
    }
  }
  return null;
}

function versionOf(folder: string): string {
  return (JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { version: string }).version;
}

function isComplete(folder: string): boolean {
  return [DRIVER, LOADER, MANIFEST].every((name) => existsSync(join(folder, name)));
}

/**
 * The regular files of a tar archive by name, folders stripped.
 *
 * @throws {FormatError} if a header's checksum is wrong or the archive ends inside a file
 */
export function readTar(tar: Uint8Array): Map<string, Uint8Array> {
  const text = (start: number, length: number) =>
    String.fromCharCode(...tar.subarray(start, start + length)).replace(/\0[\s\S]*$/, "");
  const files = new Map<string, Uint8Array>();
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
    const size = Number.parseInt(text(at + 124, 12), 8);
    let sum = 8 * 32; // the checksum counts its own field as spaces
    for (let i = 0; i < 512; i++) if (i < 148 || i >= 156) sum += tar[at + i];
    const stated = Number.parseInt(text(at + 148, 8), 8);
    if (sum !== stated) throw new FormatError(`Cannot read tar: header at byte ${at} sums to ${sum}, states ${stated}`);
    const end = at + 512 + size;
    if (!(end <= tar.length)) {
      throw new FormatError(`Cannot read tar: the file at byte ${at} ends at ${end}, the archive at ${tar.length}`);
    }
    const type = text(at + 156, 1);
    const name = text(at, 100).split("/").pop();
    if (name && (type === "0" || type === "")) files.set(name, tar.subarray(at + 512, end));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return files;
}
