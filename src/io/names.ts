import { FormatError } from "../errors.ts";
import { show } from "../text/show.ts";

/**
 * Checks that `name` stays inside the folder it is used in: relative, `/`-separated, without `.` or `..`.
 * Names come from indexes and hub answers, so none is trusted.
 *
 * @param name a file or subfolder name such as `config.json` or `main/train/0000.parquet`
 * @param where the folder or file that the name is for, used in the error
 * @returns `name` itself
 * @throws {FormatError} for an empty, absolute or escaping name, a backslash, a drive letter or a control character
 */
export function checkFileName(name: string, where: string): string {
  const parts = typeof name === "string" ? name.split("/") : [];
  const bad =
    parts.length === 0 ||
    name.includes("\\") ||
    hasControlCharacter(name) ||
    /^[A-Za-z]:/.test(name) ||
    parts.some((part) => part === "" || part === "." || part === "..");
  if (bad) {
    throw new FormatError(
      `Cannot use the file name ${show(name, 200)} in ${where}: names must be relative, with /, and stay inside`,
    );
  }
  return name;
}

/** Like {@link checkFileName}, and without a `/`: a file that lies directly in its folder. */
export function checkPlainName(name: string, where: string): string {
  checkFileName(name, where);
  if (name.includes("/")) {
    throw new FormatError(`Cannot use the file name ${show(name, 200)} in ${where}: it must be a plain file name`);
  }
  return name;
}

function hasControlCharacter(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) < 32) return true;
  return false;
}
