import { type ChildProcess, spawn } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";
import { builtCli } from "./built.ts";

const BIN = fileURLToPath(new URL("../../src/cli/bin.ts", import.meta.url));
const TSX = createRequire(import.meta.url).resolve("tsx");

const running = new Set<ChildProcess>();

export interface Ended {
  code: number | null;
  signal: string | null;
  said: string;
}

/**
 * A module that makes a process send itself a signal once it has said `words` on stderr: sent from outside, it could come
 * too late on a busy machine.
 */
function signalling(words: string, signal: NodeJS.Signals): string {
  const text = `
const { write } = process.stderr;
let sent = false;
process.stderr.write = (text, ...rest) => {
  const done = write.call(process.stderr, text, ...rest);
  if (!sent && String(text).includes(${JSON.stringify(words)})) {
    sent = true;
    process.kill(process.pid, ${JSON.stringify(signal)});
  }
  return done;
};`;
  return `data:text/javascript,${encodeURIComponent(text)}`;
}

/** The same once it has opened a file to write whose name holds `part`. */
function signallingAsItWrites(part: string, signal: NodeJS.Signals): string {
  const text = `
import fs from "node:fs";
const { open } = fs.promises;
let sent = false;
fs.promises.open = async (path, flags, ...rest) => {
  const handle = await open(path, flags, ...rest);
  if (!sent && String(flags).startsWith("w") && String(path).includes(${JSON.stringify(part)})) {
    sent = true;
    process.kill(process.pid, ${JSON.stringify(signal)});
  }
  return handle;
};`;
  return `data:text/javascript,${encodeURIComponent(text)}`;
}

export interface ProcessOptions {
  /** the process sends itself this signal once it has said these words */
  at?: [words: string, signal: NodeJS.Signals];
  /** the process sends itself this signal once it has opened a file to write whose name holds this */
  writing?: [part: string, signal: NodeJS.Signals];
  /** runs the sources, by tsx, which loads TypeScript for them too */
  sources?: boolean;
  /** sees stderr so far whenever it grows */
  onSaid?: (said: string, child: ChildProcess) => void;
}

/** The command line as a process of its own; what it said on stderr comes back when it has ended. */
export async function qwench(argv: readonly string[], options: ProcessOptions = {}): Promise<Ended> {
  const { at, writing, onSaid, sources = false } = options;
  const imports = [at && signalling(...at), writing && signallingAsItWrites(...writing), sources && TSX];
  const flags = imports.flatMap((url) => (url ? ["--import", url] : []));
  const program = sources ? BIN : await builtCli();
  const child = spawn(process.execPath, [...flags, program, ...argv], { stdio: ["ignore", "ignore", "pipe"] });
  running.add(child);
  let said = "";
  child.stderr.on("data", (data) => {
    said += data;
    onSaid?.(said, child);
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      running.delete(child);
      resolve({ code, signal, said });
    });
  });
}

/** Ends at the file's end whatever a test that failed has left running. Call at the top of the file. */
export function useProcesses(): void {
  afterAll(() => {
    for (const child of running) child.kill("SIGKILL");
  });
}
