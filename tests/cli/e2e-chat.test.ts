import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { writeTextModel } from "../session/text-fixtures.ts";
import { builtCli } from "./built.ts";

// generate and chat as processes of their own: pipes, Ctrl-C, exit codes.

const LONG = "--temperature 0 --max_new_tokens 220".split(" "); // the model's positions end before its answer does

let root: string;
const running = new Set<ChildProcess>();

interface State {
  out: string;
  said: string;
  child: ChildProcess;
}

/** Starts the command line; `onOutput` sees what came so far whenever it grows. */
async function qwench(argv: readonly string[], onOutput: (state: State) => void, input?: string) {
  const child = spawn(process.execPath, [await builtCli(), ...argv], { stdio: ["pipe", "pipe", "pipe"] });
  running.add(child);
  const state: State = { out: "", said: "", child };
  child.stdout.on("data", (data) => {
    state.out += data;
    onOutput(state);
  });
  child.stderr.on("data", (data) => {
    state.said += data;
    onOutput(state);
  });
  if (input !== undefined) child.stdin.end(input);
  return new Promise<State & { code: number | null }>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => {
      running.delete(child);
      resolve({ ...state, code });
    });
  });
}

/** Does each thing once, in order, when what it waits for has come. */
function script(...steps: [(state: State) => boolean, (state: State) => void][]): (state: State) => void {
  const left = [...steps];
  return (state) => {
    if (left.length > 0 && left[0][0](state)) left.shift()![1](state);
  };
}

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "qwench-e2e-chat-"));
  await writeTextModel(nodeFolder(join(root, "model")), { generation: { eos_token_id: 98 } });
});
afterAll(() => {
  for (const child of running) child.kill("SIGKILL");
  rmSync(root, { recursive: true, force: true });
});
const chat = (...more: string[]) => ["chat", "--model", join(root, "model"), ...more];
const interrupt = ({ child }: State) => void child.kill("SIGINT");

describe("a chat through a pipe", () => {
  it("answers line by line and ends with the input", async () => {
    const { code, out, said } = await qwench(chat("--max_new_tokens", "5", "--seed", "1"), () => {}, "hello\nand?\n");
    expect(code, said).toBe(0);
    expect(out.length).toBeGreaterThan(2);
    expect(out).not.toContain("\u001b");
    const wrong = await qwench(chat(), () => {}, "/top_p 9\n/exit\n");
    expect([wrong.code, wrong.out]).toEqual([1, ""]);
    expect(wrong.said).toContain("/top_p must be a number between 0 and 1");
  });

  it("Ctrl-C stops the answer, and once more ends", async () => {
    const count = (text: string, what: string) => text.split(what).length - 1;
    const told = script(
      [({ said }) => said.includes("Adapter"), ({ child }) => child.stdin!.write("hello\n")],
      [({ out }) => out.length > 3, interrupt],
      [({ said }) => said.includes("(stopped)"), ({ child }) => child.stdin!.write("/max_new_tokens 4\nagain\n")],
      [({ said }) => count(said, "(cut after 4 tokens)") === 1, interrupt],
    );
    const { code, out, said } = await qwench(chat(...LONG), told);
    expect(code, said).toBe(130);
    expect(out.length).toBeLessThan(200);
  });
});

describe("generate", () => {
  it("keeps its output on Ctrl-C", async () => {
    const argv = ["generate", "--model", join(root, "model"), "hello", ...LONG];
    const { code, out, said } = await qwench(argv, script([({ out }) => out.length > 3, interrupt]), "");
    expect(code, said).toBe(130);
    expect(out.length).toBeGreaterThan(3);
    expect(out.length).toBeLessThan(200);
    expect(said).not.toMatch(/\n\s+at /);
  });

  it("ends without an error when the reader closes the pipe", async () => {
    const argv = ["generate", "--model", join(root, "model"), "hello", ...LONG];
    const closing = script([({ out }) => out.length > 0, ({ child }) => child.stdout!.destroy()]);
    const { code, said } = await qwench(argv, closing, "");
    expect(said).not.toContain("EPIPE");
    expect(code).toBe(0);
  });
});
