import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { brotliDecompressSync } from "node:zlib";
import { FormatError, GpuError, NotFoundError } from "../../errors.ts";

const PACKAGE = "@sparticuz/chromium";
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

/**
 * Unpacks the SwiftShader that the optional package `@sparticuz/chromium` carries into the user's cache folder, once a
 * version. Processes that race for it are safe: each unpacks under a name of its own and renames.
 *
 * @param cache folder for `swiftshader-<version>`; default `$XDG_CACHE_HOME/qwench`, else `~/.cache/qwench`, else a
 *   private folder in the temporary one
 * @throws {GpuError} on a machine that the package's libraries do not run on
 * @throws {NotFoundError} when the package was not installed
 */
export function unpackSwiftShader(cache?: string): SwiftShader {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new GpuError(
      `Cannot use SwiftShader: its binaries are for linux x64, this is ${process.platform} ${process.arch}`,
    );
  }
  const root = packageFolder();
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  const parent = cache ?? cacheFolder();
  const folder = join(parent, `swiftshader-${version}`);
  if (!isComplete(folder)) {
    const files = readTar(brotliDecompressSync(readFileSync(join(root, "bin", "swiftshader.tar.br"))));
    const fresh = mkdtempSync(`${folder}.`);
    try {
      for (const name of [DRIVER, LOADER, MANIFEST]) {
        const bytes = files.get(name);
        if (!bytes) throw new FormatError(`Cannot unpack ${PACKAGE} ${version}: swiftshader.tar.br holds no ${name}`);
        writeFileSync(join(fresh, name), bytes);
      }
      if (existsSync(folder)) rmSync(folder, { recursive: true, force: true }); // a half that something else left
      renameSync(fresh, folder);
    } catch (error) {
      rmSync(fresh, { recursive: true, force: true });
      if (!isComplete(folder)) throw error; // else another process was quicker
    }
  }
  return { manifest: join(folder, MANIFEST), loader: join(folder, LOADER) };
}

function packageFolder(): string {
  try {
    return dirname(dirname(dirname(createRequire(import.meta.url).resolve(PACKAGE)))); // …/build/cjs/index.cjs
  } catch {
    throw new NotFoundError(
      `Cannot find the software renderer: the optional package ${PACKAGE} is not installed; npm install ${PACKAGE}`,
    );
  }
}

function isComplete(folder: string): boolean {
  return [DRIVER, LOADER, MANIFEST].every((name) => existsSync(join(folder, name)));
}

/** A folder that is ours to write: libraries are loaded from it, so nobody else may put files there. */
function cacheFolder(): string {
  const usual = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "qwench");
  try {
    mkdirSync(usual, { recursive: true });
    rmSync(mkdtempSync(join(usual, "probe.")), { recursive: true });
    return usual;
  } catch {
    const owner = process.getuid?.() ?? 0;
    const temporary = join(tmpdir(), `qwench-${owner}`);
    mkdirSync(temporary, { recursive: true, mode: 0o700 });
    const found = lstatSync(temporary);
    if (found.isDirectory() && found.uid === owner && (found.mode & 0o022) === 0) return temporary;
    throw new GpuError(
      `Cannot unpack SwiftShader: ${usual} cannot be written and ${temporary} belongs to somebody else`,
    );
  }
}

/**
 * The regular files of a tar archive by name, folders stripped.
 *
 * @throws {FormatError} when a header's checksum is wrong or the archive ends inside a file
 */
export function readTar(tar: Uint8Array): Map<string, Uint8Array> {
  const text = (start: number, length: number) =>
    String.fromCharCode(...tar.subarray(start, start + length)).replace(/\0[\s\S]*$/, "");
  const files = new Map<string, Uint8Array>();
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
    const size = Number.parseInt(text(at + 124, 12), 8);
    let sum = 8 * 32; // the checksum field counts as spaces
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
