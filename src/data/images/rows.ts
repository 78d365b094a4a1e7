import { isObject } from "../../text/json.ts";
import { kindOf } from "../../text/show.ts";
import type { RowSource } from "../paced-rows.ts";
import { type NumberedRow, rowError } from "../row-error.ts";

/** Where an image is: its bytes, or a path, URL or data URL. */
export type ImageValue = { bytes: Uint8Array } | { address: string };

const CONVERSATIONS = ["messages", "conversations", "prompt", "completion"];
const COLUMNS = ["images", "image"];

/**
 * Takes the images out of a conversational row: out of parts `{"type": "image"}` (with `image`, `path`, `url` or `bytes`) and
 * `{"type": "image_url"}`, and for parts without one out of the column `images` or `image`, in order. If the messages have no
 * such part, the column's images go before the text of the first user turn, as in TRL.
 *
 * A row without messages but with texts `question` and `answer` beside its image is a question about it.
 *
 * @returns the row with plain parts `{"type": "image"}` and without the column, and its images; null if it has none
 * @throws {DataError} numbers of parts and images that differ, or an image of another type
 */
export function takeImages(source: NumberedRow): { row: Record<string, unknown>; images: ImageValue[] } | null {
  if (!isObject(source.row)) return null;
  const row = asked(source.row);
  const column = COLUMNS.find((name) => row[name] !== undefined && row[name] !== null && row[name] !== "");
  const listed = column === undefined ? [] : [row[column]].flat();
  const keys = CONVERSATIONS.filter((key) => Array.isArray(row[key]));
  const parts = keys.flatMap((key) => (row[key] as unknown[]).flatMap(imageParts));
  if (parts.length === 0 && listed.length === 0) return null;
  if (keys.length === 0)
    throw rowError(source, `has images, so it needs messages, or prompt and completion as messages`);
  const waiting = listed.map((value) => imageValue(source, value));
  const images: ImageValue[] = [];
  const made: Record<string, unknown> = { ...row };
  for (const name of COLUMNS) delete made[name];
  if (parts.length === 0) {
    made[keys[0]] = withFirst(source, row[keys[0]] as unknown[], listed.length);
    return { row: made, images: waiting };
  }
  const take = (part: Record<string, unknown>) => {
    const own = ownValue(part);
    const next = own === null ? waiting.shift() : imageValue(source, own);
    if (!next) throw rowError(source, `has ${parts.length} image parts without an image, and ${listed.length} images`);
    images.push(next);
    return { type: "image" };
  };
  for (const key of keys) {
    made[key] = (row[key] as unknown[]).map((message) => {
      if (!isObject(message) || !Array.isArray(message.content)) return message;
      return { ...message, content: message.content.map((part) => (isImagePart(part) ? take(part) : part)) };
    });
  }
  if (waiting.length > 0) {
    throw rowError(
      source,
      `has ${listed.length} images in "${column}", and its messages place ${listed.length - waiting.length} of them`,
    );
  }
  return { row: made, images };
}

/**
 * Refuses rows with images, where nothing could see them: to leave an image out would train on another question.
 *
 * @param why what follows "has images, and "
 * @throws {DataError} with the row
 */
export async function* withoutImages(rows: RowSource, why: string): AsyncGenerator<NumberedRow> {
  for await (const source of rows) yield refuseImages(source, why);
}

/** The same of one row. */
export function refuseImages(source: NumberedRow, why: string): NumberedRow {
  if (takeImages(source)) throw rowError(source, `has images, and ${why}`);
  return source;
}

/** A row of question and answer as messages; any other row as it is. */
function asked(row: Record<string, unknown>): Record<string, unknown> {
  const { question, answer } = row;
  if (CONVERSATIONS.some((key) => (row[key] ?? null) !== null)) return row;
  if (typeof question !== "string" || typeof answer !== "string") return row;
  return {
    ...row,
    messages: [
      { role: "user", content: question },
      { role: "assistant", content: answer },
    ],
  };
}

function isImagePart(part: unknown): part is Record<string, unknown> {
  if (!isObject(part)) return false;
  if (part.type === "image" || part.type === "image_url") return true;
  // Arrow tables give every part the fields of all parts
  return (part.type ?? null) === null && (part.text ?? null) === null && ownValue(part) !== null;
}

function imageParts(message: unknown): unknown[] {
  return isObject(message) && Array.isArray(message.content) ? message.content.filter(isImagePart) : [];
}

/** The image of a part, or null: it is in the row's column. */
function ownValue(part: Record<string, unknown>): unknown {
  const { image, image_url, path, url, bytes } = part;
  if (bytes !== undefined && bytes !== null) return { bytes };
  const given = image ?? image_url ?? path ?? url ?? null;
  return isObject(given) && typeof given.url === "string" ? given.url : given;
}

function imageValue(source: NumberedRow, value: unknown): ImageValue {
  if (typeof value === "string" && value !== "") return { address: value };
  if (value instanceof Uint8Array) return { bytes: value };
  if (isObject(value)) {
    if (value.bytes instanceof Uint8Array && value.bytes.length > 0) return { bytes: value.bytes };
    if (typeof value.path === "string" && value.path !== "") return { address: value.path };
  }
  throw rowError(
    source,
    `an image must be a path, a URL, bytes, or an object with bytes or a path, not ${kindOf(value)}`,
  );
}

/** The messages with `count` image parts before the first user turn's text. */
function withFirst(source: NumberedRow, messages: unknown[], count: number): unknown[] {
  const at = messages.findIndex((message) => isObject(message) && (message.role ?? message.from) === "user");
  if (at < 0) throw rowError(source, "has images, and no user turn to put them in");
  return messages.map((message, i) => {
    if (i !== at) return message;
    const { content } = message as Record<string, unknown>;
    const rest = Array.isArray(content) ? content : [{ type: "text", text: content ?? "" }];
    return { ...(message as object), content: [...Array.from({ length: count }, () => ({ type: "image" })), ...rest] };
  });
}
