/** Most characters of a value in an error. */
const MOST = 80;
// biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal interprets them, or does not show them
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g;

/** Cuts a text to `most` characters and ends it with `…`. Does not split a surrogate pair. */
export function cut(text: string, most = MOST): string {
  if (text.length <= most) return text;
  return `${text.slice(0, most - 1).replace(/[\ud800-\udbff]$/, "")}…`;
}

/** An untrusted text, such as a tensor's name or a server's message, as one short, printable line. */
export function oneLine(text: string, most = 120): string {
  return cut(text.slice(0, 2 * most).replace(UNPRINTABLE, "?"), most);
}

/** A text from a model or data set on one line, of any length, with spaces in place of control characters. */
export function flat(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the function removes them
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ");
}

/** An untrusted value for an error, short and printable: JSON, `nothing` for undefined, and texts in quotes. */
export function show(value: unknown, most = MOST): string {
  if (value === undefined) return "nothing";
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  if (typeof value === "string") return oneLine(JSON.stringify(cut(value, most)), 2 * most);
  let text: string;
  try {
    text = JSON.stringify(value) ?? String(value);
  } catch {
    text = "a value that is not JSON or is nested too deep"; // JSON.stringify recurses, JSON.parse does not
  }
  return oneLine(text, most);
}

/** A short description of an untrusted value: `a list of 3`, `an object with role, content`, `"x"`, `2.5`. */
export function kindOf(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "object" && value !== null) {
    return `an object with ${oneLine(Object.keys(value).slice(0, 5).join(", "), MOST) || "no keys"}`;
  }
  return show(value);
}

/** The message of a thrown value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
