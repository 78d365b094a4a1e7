import type { ReadDocument } from "../src/data/documents/document.ts";
import { readDocument } from "../src/data/documents/read.ts";
import { Sha256 } from "../src/io/sha256.ts";
import { messageOf } from "../src/text/show.ts";

export interface ReaderRequest {
  kind: "read";
  file: File;
}
export type ReaderMessage =
  | { kind: "progress"; done: number; total: number }
  | { kind: "read"; document: ReadDocument; sha256: string; bytes: number }
  | { kind: "failed"; message: string };

// Reads documents in a thread of its own, so that a parser that hangs can be ended. The parser of a format is loaded when its
// first document comes.

const post = (message: ReaderMessage) => self.postMessage(message);
/** Milliseconds between two reports. */
const PACE_MS = 200;

self.addEventListener("message", async ({ data }: MessageEvent<ReaderRequest>) => {
  if (data?.kind !== "read") return; // pdf.js listens here too
  const { file } = data;
  let told = 0;
  const onProgress = (done: number, total: number) => {
    if (performance.now() - told < PACE_MS) return;
    told = performance.now();
    post({ kind: "progress", done, total });
  };
  try {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const sha256 = new Sha256().update(bytes).hex(); // pdf.js takes the bytes
    const size = bytes.length;
    post({ kind: "read", document: await readDocument(bytes, file.name, { onProgress }), sha256, bytes: size });
  } catch (error) {
    post({ kind: "failed", message: messageOf(error) });
  }
});
