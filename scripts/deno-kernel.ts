import { type ChildProcess, spawn } from "node:child_process";
import { createHmac, randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectZmq, type ZmqSocket } from "./zmq-socket.ts";

const DELIMITER = "<IDS|MSG>";
const PORTS = ["shell_port", "iopub_port", "stdin_port", "control_port", "hb_port"] as const;

/** Milliseconds to wait for output after Deno's kernel reports the end of a cell, because output may arrive later. */
const QUIET_MS = 500;

/** An output in nbformat. */
export type Output =
  | { output_type: "stream"; name: string; text: string }
  | { output_type: "display_data"; data: Record<string, unknown>; metadata: object }
  | { output_type: "execute_result"; data: Record<string, unknown>; metadata: object; execution_count: number }
  | { output_type: "error"; ename: string; evalue: string; traceback: string[] };

interface DenoKernel {
  /** Runs the source of a cell. The cell's errors become outputs. */
  run(source: string): Promise<Output[]>;
  close(): void;
}

/**
 * Starts Deno's Jupyter kernel.
 *
 * @param cwd base folder for a notebook's relative imports and paths
 */
export async function startDenoKernel(cwd: string, env: Record<string, string> = {}): Promise<DenoKernel> {
  const folder = mkdtempSync(join(tmpdir(), "qwench-kernel-"));
  const ports = Object.fromEntries(await Promise.all(PORTS.map(async (name) => [name, await freePort()])));
  const key: string = randomUUID();
  const connection = { transport: "tcp", ip: "127.0.0.1", signature_scheme: "hmac-sha256", key, ...ports };
  writeFileSync(join(folder, "connection.json"), JSON.stringify(connection));
  const deno = createRequire(import.meta.url).resolve("deno/bin.cjs");
  const child = spawn(process.execPath, [deno, "jupyter", "--kernel", "--conn", join(folder, "connection.json")], {
    cwd,
    env: { ...process.env, NO_COLOR: "1", ...env },
    stdio: ["ignore", "ignore", "pipe"],
    detached: true, // a process group, so that all processes can be ended together
  });
  let said = "";
  child.stderr!.on("data", (data) => (said += data));
  const died = once(child, "exit").then(([code]) => {
    throw new Error(`Deno's kernel ended with ${code}: ${said}`);
  });
  died.catch(() => {}); // every wait checks it

  let told: (message: Message) => void = () => {};
  const listen = (frames: Buffer[]) => told(unpacked(frames));
  const open = (port: number, type: string) => Promise.race([connectWhenUp(port, type, listen), died]);
  const shell = await open(ports.shell_port, "DEALER");
  const iopub = await open(ports.iopub_port, "SUB");
  iopub.send(["\x01"]); // all topics
  const session = randomUUID();

  const run = (source: string) =>
    new Promise<Output[]>((resolve) => {
      const content = { code: source, silent: false, store_history: true, user_expressions: {}, allow_stdin: false };
      const { id, frames } = packed("execute_request", content, session, key);
      const outputs: Output[] = [];
      const over = new Set<string>();
      let quiet: NodeJS.Timeout | undefined;
      told = (message) => {
        if (message.parent !== id) return;
        add(outputs, message);
        if (message.type === "execute_reply") over.add("reply");
        if (message.type === "status" && message.content.execution_state === "idle") over.add("idle");
        clearTimeout(quiet);
        if (over.size === 2) quiet = setTimeout(() => resolve(outputs), QUIET_MS);
      };
      shell.send(frames);
    });
  const close = () => {
    for (const socket of [shell, iopub]) socket.close();
    end(child);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await Promise.race([untilHeard(run), died]);
  } catch (error) {
    close();
    throw error;
  }
  return { run: (source) => Promise.race([run(source), died]), close };
}

interface Message {
  type: string;
  parent: string | undefined;
  content: Record<string, unknown>;
}

function packed(type: string, content: object, session: string, key: string): { id: string; frames: string[] } {
  const id = randomUUID();
  const date = new Date().toISOString();
  const header = { msg_id: id, session, username: "qwench", date, msg_type: type, version: "5.3" };
  const parts = [header, {}, {}, content].map((part) => JSON.stringify(part));
  const signature = createHmac("sha256", key).update(parts.join("")).digest("hex");
  return { id, frames: [DELIMITER, signature, ...parts] };
}

function unpacked(frames: readonly Buffer[]): Message {
  const at = frames.findIndex((frame) => frame.toString() === DELIMITER) + 2;
  const [header, parent, , content] = frames.slice(at, at + 4).map((frame) => JSON.parse(frame.toString()));
  return { type: header.msg_type, parent: parent.msg_id, content };
}

function add(outputs: Output[], { type, content }: Message): void {
  const last = outputs.at(-1);
  const { transient: _, ...rest } = content;
  if (type === "stream" && last?.output_type === "stream" && last.name === content.name) last.text += content.text;
  else if (["stream", "display_data", "execute_result", "error"].includes(type)) {
    outputs.push({ output_type: type, ...rest } as Output);
  }
}

/** Retries while the kernel opens its ports. */
async function connectWhenUp(port: number, type: string, listen: (frames: Buffer[]) => void): Promise<ZmqSocket> {
  for (let wait = 50; ; wait *= 1.5) {
    try {
      return await connectZmq(port, type, listen);
    } catch (error) {
      if (wait > 5000) throw error;
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

/** Waits until the subscription works. Earlier messages are lost, and nothing signals when a subscription becomes active. */
async function untilHeard(run: (source: string) => Promise<Output[]>): Promise<void> {
  for (;;) {
    const heard = await Promise.race([
      run("").then(() => true),
      new Promise<false>((resolve) => setTimeout(() => resolve(false), 1000)),
    ]);
    if (heard) return;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** npm's `deno` is a Node program that waits for the real one, so both must be ended. */
function end({ pid }: ChildProcess): void {
  try {
    process.kill(-pid!, "SIGKILL");
  } catch {
    // already ended
  }
}
