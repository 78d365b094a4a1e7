/** Bytes at rest that can be read by range: a file, an OPFS entry, a blob, an HTTP resource. */
export interface ByteSource {
  /** what to call it in an error: a path or a URL */
  readonly name: string;
  /** length in bytes */
  readonly size: number;
  /** Reads bytes `[start, end)`. A source that ends early throws FormatError rather than return fewer. */
  read(start: number, end: number): Promise<Uint8Array>;
}

/** A folder of files, whatever holds it: a disk, OPFS, memory. File names are relative, with `/`, never `..`. */
export interface Folder {
  /** what to call it in an error */
  readonly path: string;
  /** Names of the files directly inside, sorted. A folder that does not exist lists as empty. */
  list(): Promise<string[]>;
  exists(name: string): Promise<boolean>;
  /** @throws {NotFoundError} when there is no such file */
  open(name: string): Promise<ByteSource>;
  readText(name: string): Promise<string>;
  /** Writes under a temporary name, then renames: a crash leaves the old file or the new one, never a half. */
  write(name: string, content: string | Uint8Array | AsyncIterable<Uint8Array>): Promise<void>;
  /** Appends to a log; creates it when absent. */
  append(name: string, text: string): Promise<void>;
  remove(name: string): Promise<void>;
  /** Atomically renames a file or subfolder inside this folder, replacing a file of that name. */
  rename(from: string, to: string): Promise<void>;
  /** Names of the subfolders directly inside, sorted. */
  folders(): Promise<string[]>;
  folder(name: string): Folder;
  /** Removes a subfolder and all in it. */
  removeFolder(name: string): Promise<void>;
}
