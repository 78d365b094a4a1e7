import { type FileHandle, open, stat } from "node:fs/promises";

/** Most bytes read at once; a longer file is read in several turns. */
const MOST_BYTES = 32 << 20;
/** Most bytes of one line: a longer one is left out. */
const MOST_LINE = 4 << 20;

/** A file of lines that another process appends to, or replaces. */
export class GrowingFile {
  /** changes when the file was replaced or became shorter, so that its lines begin anew */
  generation = 0;
  private readonly path: string;
  private inode = 0;
  private offset = 0;
  private rest = Buffer.alloc(0);

  constructor(path: string) {
    this.path = path;
  }

  /** The complete lines that are new since the last call. A line that is still being written comes later. */
  async lines(): Promise<string[]> {
    let handle: FileHandle;
    try {
      if (!(await stat(this.path)).isFile()) return []; // opening a pipe would wait for its writer
      handle = await open(this.path, "r");
    } catch {
      this.restart(0);
      return [];
    }
    try {
      const { ino, size } = await handle.stat();
      if (ino !== this.inode || size < this.offset) this.restart(ino);
      const lines: string[] = [];
      while (this.offset < size) {
        const buffer = Buffer.alloc(Math.min(MOST_BYTES, size - this.offset));
        const { bytesRead } = await handle.read(buffer, 0, buffer.length, this.offset);
        if (bytesRead === 0) break;
        this.offset += bytesRead;
        this.take(buffer.subarray(0, bytesRead), lines);
      }
      return lines;
    } finally {
      await handle.close();
    }
  }

  private restart(inode: number): void {
    if (this.offset > 0 || this.inode !== 0) this.generation++;
    this.inode = inode;
    this.offset = 0;
    this.rest = Buffer.alloc(0);
  }

  private take(bytes: Buffer, lines: string[]): void {
    const all = Buffer.concat([this.rest, bytes]);
    let from = 0;
    for (let to = all.indexOf(10); to >= 0; to = all.indexOf(10, from)) {
      if (to - from <= MOST_LINE) lines.push(all.toString("utf8", from, to));
      from = to + 1;
    }
    this.rest = Buffer.from(all.subarray(Math.max(from, all.length - MOST_LINE - 1)));
  }
}
