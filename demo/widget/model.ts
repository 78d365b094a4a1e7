/** The model that an anywidget host gives to a front end: Python's traits, kept in sync. */
export interface WidgetModel {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  /** sends changed traits */
  save_changes(): void;
  on(event: string, listener: () => void): void;
  off(event: string, listener: () => void): void;
  send(content: unknown, callbacks?: undefined, buffers?: ArrayBufferView[]): void;
}

/** Largest message in bytes. Jupyter servers reject messages from 10 MB. */
const PIECE = 2 ** 21;

/**
 * Sends files in pieces. Each piece is a message `{ type, name, offset, size }` with one buffer. The last message is `{ type,
 * sizes }`.
 *
 * @param binary false: the message holds the bytes as `base64`, for hosts that drop buffers
 */
export function sendFiles(
  model: WidgetModel,
  type: string,
  files: Readonly<Record<string, Uint8Array>>,
  binary: boolean,
): void {
  const sizes: Record<string, number> = {};
  for (const [name, bytes] of Object.entries(files)) {
    sizes[name] = bytes.length;
    for (let offset = 0; offset < bytes.length; offset += PIECE) {
      const piece = bytes.slice(offset, offset + PIECE);
      const head = { type, name, offset, size: bytes.length };
      if (binary) model.send(head, undefined, [piece]);
      else model.send({ ...head, base64: base64(piece) });
    }
  }
  model.send({ type, sizes });
}

function base64(bytes: Uint8Array): string {
  let text = "";
  const most = 2 ** 15; // limits the arguments of one call
  for (let i = 0; i < bytes.length; i += most) text += String.fromCharCode(...bytes.subarray(i, i + most));
  return btoa(text);
}
