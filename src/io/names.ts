import { FormatError } from "../errors.ts";
import { show } from "../text/show.ts";

/**
 * Checks that `name` stays inside its folder: relative, `/`-separated, without `.` or `..`. Names come from indexes and
 * hub answers, so they are untrusted.
 *
 * @param name a file or subfolder name such as `config.json` or `main/train/0000.parquet`
 * @param where the folder or file that the name is for, used in the error
 * @returns `name` itself
 * @throws {FormatError} for an empty, absolute or escaping name, a backslash, a drive letter, a control character, a
 *   name
 *   of more than 255 bytes, and a Windows device such as `aux.json`
 */
export function checkFileName(name: string, where: string): string {
  const parts = typeof name === "string" ? name.split("/") : [];
  const fault = parts.map(portableFault).find((found) => found !== null);
  const bad =
    parts.length === 0 ||
    name.includes("\\") ||
    hasControlCharacter(name) ||
    /^[A-Za-z]:/.test(name) ||
    parts.some((part) => part === "" || part === "." || part === "..");
  if (bad) {
    throw new FormatError(
      `Cannot use the file name ${show(name, 200)} in ${where}: names must be relative, use /, and stay inside the folder`,
    );
  }
  if (fault) throw new FormatError(`Cannot use the file name ${show(name)} in ${where}: ${fault}`);
  return name;
}

/** Longest name that every file system accepts, in bytes. */
const MOST_BYTES = 255;
const DEVICE = /^(?:con|prn|aux|nul|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3])(?:\.|$)/i;

/**
 * The reason why some system cannot create a file of this name (too long, a Windows device, a trailing dot or space);
 * else null.
 */
export function portableFault(part: string): string | null {
  const bytes = new TextEncoder().encode(part.slice(0, MOST_BYTES + 1)).length;
  if (bytes > MOST_BYTES) return `a name must have at most ${MOST_BYTES} bytes`;
  if (DEVICE.test(part)) return `${show(part)} is the name of a device on Windows`;
  return /[. ]$/.test(part) && part !== "." && part !== ".."
    ? "a name must not end with a dot or a space, which Windows removes"
    : null;
}

/** Like {@link checkFileName}, and without a `/`: a file directly in its folder. */
export function checkPlainName(name: string, where: string): string {
  checkFileName(name, where);
  if (name.includes("/")) {
    throw new FormatError(`Cannot use the file name ${show(name, 200)} in ${where}: it must be a plain file name`);
  }
  return name;
}

function hasControlCharacter(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the pattern searches for control characters
  return /[\u0000-\u001f\u007f-\u009f]/.test(text);
}
