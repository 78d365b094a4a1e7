import { FormatError } from "../errors.ts";
import { checkRange } from "./memory-folder.ts";
import type { ByteSource } from "./storage.ts";

/** A blob as a {@link ByteSource}, read by range. @param name its name in errors */
export function blobSource(name: string, blob: Blob): ByteSource {
  return {
    name,
    size: blob.size,
    async read(start, end) {
      checkRange(name, blob.size, start, end);
      const bytes = new Uint8Array(await blob.slice(start, end).arrayBuffer());
      if (bytes.length !== end - start) {
        throw new FormatError(
          `Cannot read bytes ${start} to ${end} of ${name}: the browser returned ${bytes.length} bytes`,
        );
      }
      return bytes;
    },
  };
}
