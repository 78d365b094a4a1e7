/** What an anywidget host hands to a front end: the traits of the Python side, kept in step with it. */
export interface WidgetModel {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  /** sends what was set */
  save_changes(): void;
  on(event: string, listener: () => void): void;
  off(event: string, listener: () => void): void;
  send(content: unknown, callbacks?: undefined, buffers?: ArrayBufferView[]): void;
}

/** Bytes of a message: servers of Jupyter refuse messages of 10 MB and more. */
const PIECE = 2 ** 21;

/**
 * Sends files in pieces, each a message `{ type, name, offset, size }` with one buffer, and at the end `{ type, sizes }`.
 *
 * @param binary false: bytes go as `base64` in the message, for hosts that lose buffers
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
  const most = 2 ** 15; // arguments of one call
  for (let i = 0; i < bytes.length; i += most) text += String.fromCharCode(...bytes.subarray(i, i + most));
  return btoa(text);
}
