import type { FileAccess, FileNode, PythonModule } from "./sandbox-types.ts";

/** An interpreter's interface to its thread. */
interface InterpreterHost {
  /** byte limits: of one run's output and files, and of one message */
  output_bytes: number;
  fillRandom(bytes: Uint8Array): void;
  /** answers this interpreter's requests to the other one */
  peer(request: string): string;
}

/** A Python interpreter with its memory, which answers messages. */
export interface Interpreter {
  /** Resets counters and output, and sets the input. */
  begin(stdin: string): void;
  /**
   * Passes Python a message. May be called while Python waits for its peer.
   *
   * @throws the interpreter crashed
   */
  ask(message: string): string;
  /** All output. */
  stdout(): string;
  /** Output since the last call. */
  printed(): string;
  /** Whether output or files exceeded the limit. */
  overflowed(): boolean;
  /** Restores memory and files. @returns whether nothing else has changed */
  reset(): boolean;
}

/**
 * Gives an interpreter its devices and files, and the means to restore its initial state.
 *
 * The function becomes part of the sandbox's text, so like the sandbox it uses only its arguments and globals.
 */
export function openInterpreter(
  module: PythonModule,
  entry: number,
  heap: () => Uint8Array,
  baseline: Uint8Array,
  { output_bytes, fillRandom, peer }: InterpreterHost,
): Interpreter {
  /** A heap never shrinks; above this size, a thread is replaced instead of cleaned. */
  const KEEP_BYTES = 256 << 20;
  const ENOSPC = 51; // Emscripten's number
  /** cost of a folder entry beside its name */
  const ENTRY_BYTES = 512;
  const { FS } = module;
  const { MEMFS } = FS.filesystems;
  const encoder = new TextEncoder();
  let stdin: Uint8Array = new Uint8Array();
  let stdinAt = 0;
  let stdout: Uint8Array[] = [];
  let told = 0;
  let written = 0;
  let overflow = false;
  let message: { bytes: Uint8Array; at: number; answer: Uint8Array[]; size: number } | null = null;
  let question: Uint8Array[] = [];
  let asked = 0;
  let reply: { bytes: Uint8Array; at: number } | null = null;

  const full = () => {
    overflow = true;
    throw new FS.ErrnoError(ENOSPC);
  };
  /** Counts written bytes, including files. */
  const charge = (bytes: number) => {
    written += bytes;
    if (written > output_bytes) full();
  };
  const source = (next: (length: number) => Uint8Array): FileAccess => {
    return (_, buffer, offset, length) => {
      const part = next(length);
      buffer.set(part, offset);
      return part.length;
    };
  };
  const sink = (take: (part: Uint8Array) => void): FileAccess => {
    return (_, buffer, offset, length) => {
      take(buffer.slice(offset, offset + length));
      return length;
    };
  };
  const random = (length: number) => {
    const bytes = new Uint8Array(length);
    fillRandom(bytes);
    return bytes;
  };
  const print = (part: Uint8Array) => {
    charge(part.length);
    stdout.push(part);
  };
  const answer = (part: Uint8Array) => {
    if (!message || (message.size += part.length) > output_bytes) full();
    message!.answer.push(part);
  };
  const read = (length: number) => message?.bytes.subarray(message.at, (message.at += length)) ?? new Uint8Array();
  const put = (part: Uint8Array) => {
    if ((asked += part.length) > output_bytes) full();
    question.push(part);
  };
  const hear = (length: number) => {
    if (!reply) {
      const text = textOf(question);
      [question, asked] = [[], 0];
      reply = { bytes: encoder.encode(peer(text)), at: 0 };
    }
    const part = reply.bytes.subarray(reply.at, (reply.at += length));
    if (part.length === 0) reply = null;
    return part;
  };
  const devices: [path: string, ops: { read?: FileAccess; write?: FileAccess }][] = [
    ["/dev/stdin", { read: source((length) => stdin.subarray(stdinAt, (stdinAt += length))) }],
    ["/dev/stdout", { write: sink(print) }],
    ["/dev/stderr", { write: sink((part) => charge(part.length)) }],
    ["/dev/channel", { read: source(read), write: sink(answer) }],
    ["/dev/peer", { read: source(hear), write: sink(put) }],
    ["/dev/urandom", { read: source(random) }],
  ];
  for (const old of ["stdin", "stdout", "stderr", "random", "urandom", "tty", "tty1"]) FS.unlink(`/dev/${old}`);
  devices.forEach(([path, ops], minor) => {
    FS.registerDevice(FS.makedev(64, minor), { open() {}, close() {}, ...ops });
    FS.mkdev(path, 0o666, FS.makedev(64, minor));
  });
  FS.symlink("/dev/urandom", "/dev/random");
  for (let fd = 0; fd < 3; fd++) {
    const old = FS.streams[fd];
    if (old) FS.close(old);
    FS.open(devices[fd][0], fd === 0 ? "r" : "w");
  }
  chargeFiles();

  function chargeFiles(): void {
    const files = MEMFS.ops_table.file.stream;
    const [write, resize, create] = [files.write, MEMFS.resizeFileStorage, MEMFS.createNode];
    const { rename, symlink } = FS;
    const room = ({ contents }: FileNode) => (contents instanceof Uint8Array ? contents.length : 0);
    files.write = (stream, buffer, offset, length, position) => {
      charge(Math.max(length, position + length - room(stream.node)));
      return write(stream, buffer, offset, length, position);
    };
    MEMFS.resizeFileStorage = (node, size) => {
      charge(Math.max(0, size - room(node)));
      return resize(node, size);
    };
    MEMFS.createNode = (parent, name, mode, device) => {
      charge(ENTRY_BYTES + 2 * name.length);
      return create(parent, name, mode, device);
    };
    FS.symlink = (target, path) => {
      charge(2 * target.length);
      return symlink.call(FS, target, path);
    };
    FS.rename = (from, to) => {
      charge(2 * to.length);
      return rename.call(FS, from, to);
    };
  }

  /** The contents of the file system, entry by entry. */
  const tree = () => {
    const found: unknown[] = [FS.currentPath];
    const walk = (node: FileNode) => {
      found.push(node, node.name, node.mode, node.usedBytes, node.link, node.mtime);
      if (FS.isDir(node.mode) && node.mount === FS.root.mount)
        Object.values(node.contents as Record<string, FileNode>).forEach(walk);
    };
    walk(FS.root);
    return found;
  };
  const first = tree();
  const nodes = first.filter((value) => typeof value === "object" && value !== null) as FileNode[];
  const contents = nodes.flatMap((node) =>
    node.contents instanceof Uint8Array ? { node, bytes: node.contents.slice(0, node.usedBytes) } : [],
  );
  const streams = FS.streams.slice();
  const { nextInode } = FS;
  const stack = module.stackSave();

  function unchanged(): boolean {
    const now = tree();
    if (now.length !== first.length || now.some((value, i) => value !== first[i])) return false;
    return (
      contents.every(({ node, bytes }) => sameBytes(node.contents as Uint8Array, bytes)) && module.stackSave() === stack
    );
  }

  /** Whether `bytes` begins with `wanted`. */
  function sameBytes(bytes: Uint8Array, wanted: Uint8Array): boolean {
    for (let i = 0; i < wanted.length; i++) if (bytes[i] !== wanted[i]) return false;
    return true;
  }

  function textOf(parts: Uint8Array[]): string {
    const decoder = new TextDecoder();
    return parts.map((part) => decoder.decode(part, { stream: true })).join("") + decoder.decode();
  }

  return {
    begin(input) {
      [stdin, stdinAt] = [encoder.encode(input), 0];
      [stdout, told, written, overflow] = [[], 0, 0, false];
      [message, question, asked, reply] = [null, [], 0, null];
    },
    ask(text) {
      const outer = [message, question, asked, reply] as const;
      message = { bytes: encoder.encode(text), at: 0, answer: [], size: 0 };
      [question, asked, reply] = [[], 0, null];
      // Python releases its lock while it reads, and needs it again if a request arrives meanwhile
      const lock = module._PyGILState_Ensure();
      const returned = module._PyObject_CallNoArgs(entry);
      module._PyGILState_Release(lock);
      if (returned === 0) throw new Error("the harness failed");
      const said = textOf(message.answer);
      [message, question, asked, reply] = outer;
      return said;
    },
    stdout: () => textOf(stdout),
    printed() {
      const fresh = stdout.slice(told);
      told = stdout.length;
      return textOf(fresh);
    },
    overflowed: () => overflow,
    reset() {
      if (heap().length > KEEP_BYTES || !unchanged()) return false;
      heap().set(baseline);
      heap().fill(0, baseline.length);
      FS.streams.length = 0;
      streams.forEach((stream, fd) => {
        FS.streams.push(stream);
        if (stream) stream.fd = fd;
      });
      FS.nextInode = nextInode;
      return true;
    },
  };
}
