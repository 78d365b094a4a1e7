/**
 * Recognises the first bytes of a response or file that is not the requested data, such as a login page. Returns null if the
 * bytes may be the data.
 *
 * @returns written to follow "it is": `a web page ("Sign in")`, `a Git LFS pointer`
 */
export function notData(bytes: Uint8Array): string | null {
  const start = new TextDecoder().decode(bytes.subarray(0, 2048)).trimStart();
  if (start.startsWith("version https://git-lfs.github.com/spec/")) {
    return "a Git LFS pointer, which stands for the file in a repository";
  }
  if (!/^(?:<!doctype html|<html)\b/i.test(start)) return null;
  const title = /<title>\s*([^<]{1,80})/i.exec(start)?.[1].trim();
  return title ? `a web page (${JSON.stringify(title)})` : "a web page";
}
