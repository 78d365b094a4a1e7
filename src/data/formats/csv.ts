import { DataError } from "../../errors.ts";
import type { NumberedRow } from "../rows.ts";

/** Most characters of one field: a longer field means an unclosed quote. */
const maxField = 16 * 1024 * 1024;
/** Most columns of a table. */
const maxColumns = 10_000;

/**
 * Rows of comma- or tab-separated text with a header line; every value is a string.
 * Quoted fields may contain delimiters, line breaks and doubled quotes; a quote inside an unquoted field is literal.
 * Lines end with LF or CRLF. A column without a name, such as pandas' index, is called `Unnamed: 0`, by its position.
 *
 * @throws {DataError} with the line: an unclosed quote, a row with more or fewer fields than the header, a repeated
 *   name
 *   in the header, more than 10 000 columns
 * @see RFC 4180
 */
export async function* parseCsv(
  file: string,
  text: AsyncIterable<string>,
  delimiter: "," | "\t",
): AsyncGenerator<NumberedRow> {
  let header: string[] | null = null;
  const names = new Set<string>();
  let number = 0;
  for await (const { fields, line } of records(file, text, delimiter)) {
    if (fields.length === 1 && fields[0] === "") continue;
    if (header === null) {
      header = fields.map((name, i) => name || `Unnamed: ${i}`);
      const repeated = header.find((name) => names.size === names.add(name).size);
      if (repeated !== undefined) {
        throw new DataError(
          `${file}, line ${line}: the header's column names must differ, but ${JSON.stringify(shorten(repeated))} occurs twice`,
        );
      }
      continue;
    }
    number++;
    if (fields.length !== header.length) {
      throw new DataError(
        `${file}, line ${line} (row ${number}) has ${fields.length} fields, but the header has ${header.length}: ${shorten(header.slice(0, 20).join(", "))}`,
      );
    }
    yield { row: Object.fromEntries(header.map((name, i) => [name, fields[i]])), number, file };
  }
}

function shorten(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

async function* records(
  file: string,
  text: AsyncIterable<string>,
  delimiter: string,
): AsyncGenerator<{ fields: string[]; line: number }> {
  let fields: string[] = [];
  let field = "";
  // before: nothing of the field read yet; quoted: inside quotes; closing: just after a quote inside quotes
  let state: "before" | "plain" | "quoted" | "closing" = "before";
  let line = 1;
  let firstLine = 1;
  let started = false;
  const fail = (what: string): DataError => new DataError(`${file}, line ${line}: ${what}`);
  const special = delimiter === "," ? /[,\n]/g : /[\t\n]/g;

  for await (const piece of text) {
    let at = 0;
    while (at < piece.length) {
      const c = piece[at]!;
      started = true;
      if (state === "quoted") {
        const quote = piece.indexOf('"', at);
        const end = quote < 0 ? piece.length : quote;
        const part = piece.slice(at, end);
        field += part;
        for (let n = part.indexOf("\n"); n >= 0; n = part.indexOf("\n", n + 1)) line++;
        if (field.length > maxField) throw fail(`the quote opened in the record of line ${firstLine} is not closed`);
        at = end;
        if (quote >= 0) {
          state = "closing";
          at++;
        }
      } else if (state === "closing" && c === '"') {
        field += '"';
        state = "quoted";
        at++;
      } else if (c === delimiter || c === "\n") {
        // CRLF: the carriage return belongs to the line end, even after a quoted field.
        fields.push(c === "\n" && state !== "closing" && field.endsWith("\r") ? field.slice(0, -1) : field);
        field = "";
        state = "before";
        at++;
        if (fields.length > maxColumns) throw fail(`more than ${maxColumns} fields`);
        if (c === "\n") {
          yield { fields, line: firstLine };
          fields = [];
          line++;
          firstLine = line;
          started = false;
        }
      } else if (state === "closing") {
        if (c !== "\r")
          throw fail(`${JSON.stringify(c)} after a closing quote; a quote inside a quoted field is doubled ("")`);
        at++;
      } else if (c === '"' && state === "before") {
        state = "quoted";
        at++;
      } else {
        // as in Python's csv module, a quote counts only at the start of a field
        special.lastIndex = at;
        const end = special.exec(piece)?.index ?? piece.length;
        field += piece.slice(at, end);
        if (field.length > maxField) throw fail(`a field of more than ${maxField} characters`);
        state = "plain";
        at = end;
      }
    }
  }
  if (state === "quoted") throw fail(`the quote opened in the record of line ${firstLine} is not closed`);
  if (started) {
    fields.push(state === "plain" && field.endsWith("\r") ? field.slice(0, -1) : field);
    yield { fields, line: firstLine };
  }
}
