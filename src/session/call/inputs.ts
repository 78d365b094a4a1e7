import { readRows } from "../../data/dataset.ts";
import type { RowSource } from "../../data/paced-rows.ts";
import type { NumberedRow } from "../../data/row-error.ts";
import { NetworkError, NotFoundError, RecipeError } from "../../errors.ts";
import { blobSource } from "../../io/blob.ts";
import { memorySource } from "../../io/memory-folder.ts";
import type { Folder } from "../../io/storage.ts";
import { isObject } from "../../text/json.ts";
import { kindOf } from "../../text/show.ts";
import type { CallHost, Following, RowFields } from "./host.ts";

/**
 * A model or an adapter: a folder's path or name, a hub id, the address of a model's page on the hub, an open folder, or the
 * files that a user picked.
 */
export type ModelInput = string | URL | Folder | readonly File[];

/** A row, by column. */
export type DataRow = Readonly<Record<string, unknown>>;

/**
 * Rows: the objects themselves; the name of a data set that Qwench knows, such as `gsm8k`; a file's or folder's path; a hub
 * id; the address of a file, or of a data set's page on the hub; a `File` or other blob.
 */
export type DataInput = string | URL | Blob | Iterable<DataRow> | AsyncIterable<DataRow>;

/** A text that names something: a path, or what an address stands for. */
interface Named {
  name: string;
  /** branch, tag or commit, if an address has one */
  revision?: string;
}

const HUB_PAGE =
  /^https?:\/\/(?:www\.)?(?:huggingface\.co|hf\.co)\/(datasets\/)?([\w.-]+(?:\/[\w.-]+)?)(?:\/tree\/([^/?#]+))?\/?(?:[?#].*)?$/;

/** The hub id of a page's address; null: another address. */
function hubPage(address: string): Named | null {
  const found = HUB_PAGE.exec(address);
  return found && { name: found[2], ...(found[3] && { revision: decodeURIComponent(found[3]) }) };
}

/** The name of a model that a text or an address gives. @throws {RecipeError} an address that is no page of a model */
export function modelName(input: string | URL): Named {
  const text = String(input);
  if (text.startsWith("file:")) return { name: filePath(text) };
  if (!/^https?:/i.test(text)) return { name: text };
  const page = hubPage(text);
  if (page) return page;
  throw new RecipeError(
    `Cannot open the model ${text}: give the page of a model on the hub (https://huggingface.co/owner/name), a hub id, or a folder`,
  );
}

/** Opens a model or an adapter. */
export async function openModelInput(host: CallHost, input: ModelInput, following: Following): Promise<Folder> {
  if (typeof input === "string" || input instanceof URL) {
    const { name, revision = "main" } = modelName(input);
    return host.model(name, revision, following);
  }
  if (Array.isArray(input)) return host.files("the picked files", input as readonly File[]);
  return input as Folder;
}

/** The name of an input in messages and in an adapter's `base_model_name_or_path`. */
export function inputName(input: ModelInput): string {
  if (typeof input === "string" || input instanceof URL) return modelName(input).name;
  return Array.isArray(input) ? "the picked files" : (input as Folder).path;
}

/**
 * A data set's name, where the input is a text or an address that stands for one; null: the rows themselves, a blob, or the
 * address of a file.
 */
export function dataName(input: DataInput): string | null {
  if (typeof input !== "string" && !(input instanceof URL)) return null;
  const text = String(input);
  if (text.startsWith("file:")) return filePath(text);
  return /^https?:/i.test(text) ? (hubPage(text)?.name ?? null) : text;
}

/** Rows of an input. @param split of a named data set @throws {DataError} with the row */
export async function openRowsInput(
  host: CallHost,
  input: DataInput,
  { split, fields, model }: { split: string; fields: RowFields; model: Folder },
  following: Following,
): Promise<RowSource> {
  const name = dataName(input);
  if (name !== null) return host.rows(name, split, fields, model, following);
  if (typeof input === "string" || input instanceof URL) return readRows(await download(String(input), following));
  if (input instanceof Blob) return readRows(blobSource((input as Partial<File>).name ?? "the data", input));
  return numbered(input as Iterable<DataRow> | AsyncIterable<DataRow>);
}

/** Rows with their numbers from 1. Rows of `readRows` keep theirs. */
async function* numbered(rows: Iterable<unknown> | AsyncIterable<unknown>): AsyncGenerator<NumberedRow> {
  let number = 0;
  for await (const row of rows) {
    number++;
    if (isNumbered(row)) yield row;
    else if (isObject(row)) yield { row: { ...row }, number, file: "the data" };
    else
      throw new RecipeError(`Cannot use row ${number} of the data: a row is an object by column, not ${kindOf(row)}`);
  }
}

function isNumbered(row: unknown): row is NumberedRow {
  return isObject(row) && isObject(row.row) && typeof row.number === "number" && typeof row.file === "string";
}

/** A file at an address, in memory. */
async function download(address: string, { signal, report }: Following) {
  let response: Response;
  try {
    response = await fetch(address, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw new NetworkError(`Cannot read rows from ${address}: ${(error as Error).message}`, { cause: error });
  }
  if (!response.ok) {
    const Kind = response.status === 404 ? NotFoundError : NetworkError;
    throw new Kind(`Cannot read rows from ${address}: the server answered ${response.status}`);
  }
  const total = Number(response.headers.get("content-length")) || null;
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let done = 0;
  for await (const part of response.body ?? []) {
    parts.push(part);
    done += part.length;
    report(address, done, total, "bytes");
  }
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
  return memorySource(new URL(address).pathname.split("/").at(-1) || address, bytes);
}

function filePath(address: string): string {
  return decodeURIComponent(new URL(address).pathname).replace(/^\/([A-Za-z]:\/)/, "$1");
}
