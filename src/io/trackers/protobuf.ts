import { concat } from "../memory-folder.ts";

// The part of protobuf's wire format that the trackers' files need. Source: protobuf.dev/programming-guides/encoding.

/** One field of a message, encoded. */
export type Encoded = Uint8Array;

const encoder = new TextEncoder();

/** A field of an integer type. @param value an integer of at least 0 */
export function integer(field: number, value: number): Encoded {
  return concat([varint(field * 8), varint(value)]);
}

/** A field of type `double`. */
export function double(field: number, value: number): Encoded {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setFloat64(0, value, true);
  return concat([varint(field * 8 + 1), bytes]);
}

/** A field of type `float`. */
export function float(field: number, value: number): Encoded {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setFloat32(0, value, true);
  return concat([varint(field * 8 + 5), bytes]);
}

/** A field of type `string`. */
export function text(field: number, value: string): Encoded {
  return delimited(field, encoder.encode(value));
}

/** A field whose type is a message. */
export function message(field: number, ...fields: readonly Encoded[]): Encoded {
  return delimited(field, concat(fields));
}

function delimited(field: number, content: Uint8Array): Encoded {
  return concat([varint(field * 8 + 2), varint(content.length), content]);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  bytes.push(rest);
  return Uint8Array.from(bytes);
}
