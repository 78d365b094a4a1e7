import { DataError } from "../../errors.ts";

const MARK = /["[\]{},]/g;
const STRING_MARK = /["\\]/g;

/**
 * The texts of a JSON array's elements, one by one, so that a large file is never in memory as a whole. Does not parse
 * the elements.
 *
 * @param text begins with the array's bracket
 * @param most limit for the characters of one element
 * @throws {DataError} an array that does not end, text after the array, or an element above the limit
 */
export async function* jsonElements(file: string, text: AsyncIterable<string>, most: number): AsyncGenerator<string> {
  let depth = 0;
  let inString = false;
  let escaped = false;
  let ended = false;
  let count = 0;
  let parts: string[] = [];
  let length = 0;
  const fail = (what: string): DataError => new DataError(`${file} is not JSON: ${what} after ${count} rows`);
  const take = (piece: string): void => {
    parts.push(piece);
    length += piece.length;
    if (length > most) throw new DataError(`${file}, row ${count + 1} has more than ${most} characters`);
  };
  /** the element that ends here; null: nothing between two commas */
  const finish = (piece: string): string | null => {
    take(piece);
    const element = parts.join("").trim();
    parts = [];
    length = 0;
    if (element !== "") count++;
    return element === "" ? null : element;
  };

  for await (const piece of text) {
    let start = 0;
    let at: number = escaped ? 1 : 0;
    escaped = false;
    for (;;) {
      const pattern: RegExp = inString ? STRING_MARK : MARK;
      pattern.lastIndex = at;
      const found = pattern.exec(piece);
      if (!found) break;
      const [mark] = found;
      at = found.index + 1;
      if (ended) throw fail(`${JSON.stringify(mark)} follows the array`);
      if (mark === "\\") {
        // more text may be in the next piece
        escaped = at === piece.length;
        at++;
      } else if (mark === '"') inString = !inString;
      else if (mark === "[" || mark === "{") {
        if (depth++ === 0) start = at;
      } else if (depth === 1) {
        const element = finish(piece.slice(start, found.index));
        start = at;
        ended = mark !== ",";
        if (ended) depth = 0;
        if (element !== null) yield element;
        else if (!ended || count > 0) throw fail("a row is missing");
      } else if (mark !== ",") depth--;
    }
    if (ended && piece.slice(start).trim() !== "")
      throw fail(`${JSON.stringify(piece.slice(start).trim()[0])} follows the array`);
    if (!ended) take(piece.slice(start));
  }
  if (!ended) throw fail("it ends");
}
