// Loses the device at a random dispatch of a command. It must end with a sentence, and the same command must then come to
// the bytes of one that was not disturbed. `npx tsx scripts/attack/device-lost.ts [--n 20] [--seed 1] [--only sft,grpo,generate]`.
// It runs dist/cli.js: `npm run build` before. Every other round destroys the device; the others let it be lost as a driver's reset does.

import { fork } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import {
  argvOf,
  contentsOf,
  differences,
  ended,
  hasCheckpoint,
  METHODS,
  refusalFaults,
  roundsOf,
  runCli,
  tellProgress,
  WEIGHTS,
} from "./rounds.ts";

const HUNG_MS = 240_000;
type How = "destroyed" | "lost";

const root = process.env.QWENCH_ATTACK_ROOT ?? mkdtempSync(join(tmpdir(), "qwench-lost-"));
const at = (...names: string[]) => join(root, ...names);

interface Command {
  argv(output: string): string[];
  same: RegExp;
}

const training = (method: string): Command => ({
  argv: (output) => argvOf(method, output, hasCheckpoint(output)),
  same: WEIGHTS,
});

const COMMANDS: Readonly<Record<string, Command>> = {
  ...Object.fromEntries(Object.keys(METHODS).map((method) => [method, training(method)])),
  generate: {
    argv: (output) => [
      ...["generate", "--file", at("prompts.jsonl"), "--output", join(output, "rows.jsonl")],
      ..."--max_new_tokens 24 --temperature 0.8 --seed 3 --batch_size 4".split(" "),
    ],
    same: /./,
  },
  eval: {
    argv: (output) => [
      ..."eval --limit 8 --n 2 --temperature 0.7 --max_new_tokens 24 --output".split(" "),
      join(output, "e.json"),
    ],
    same: /./,
  },
};

/** In the child: counts dispatches, and ends the device that the command opened at one of them. */
async function child(nth: number, how: How, argv: string[]): Promise<void> {
  const { globals } = (await import("webgpu")) as unknown as { globals: Record<string, { prototype: never }> };
  let device: GPUDevice | null = null;
  let lose: (info: GPUDeviceLostInfo) => void = () => {};
  const adapter = globals.GPUAdapter.prototype as GPUAdapter;
  const request = adapter.requestDevice;
  adapter.requestDevice = async function (descriptor) {
    const opened = await request.call(this, descriptor);
    if (descriptor?.label !== "qwench" || device !== null) return opened; // probes, and devices that only compile
    device = opened;
    // a driver's reset: like a destroyed device, but with another reason
    if (how === "lost") Object.defineProperty(opened, "lost", { value: new Promise((resolve) => (lose = resolve)) });
    return opened;
  };
  let count = 0;
  const pass = globals.GPUComputePassEncoder.prototype as GPUComputePassEncoder;
  for (const name of ["dispatchWorkgroups", "dispatchWorkgroupsIndirect"] as const) {
    const dispatch = pass[name] as (...args: unknown[]) => undefined;
    pass[name] = function (this: GPUComputePassEncoder, ...args: unknown[]) {
      if (device !== null && count++ === nth) {
        device.destroy();
        setTimeout(() => lose({ reason: "unknown", message: "the driver was reset" } as GPUDeviceLostInfo));
      }
      return dispatch.apply(this, args);
    } as never;
  }
  process.on("exit", () => writeFileSync(at("count"), String(count)));
  await runCli(argv);
}

async function start(nth: number, how: How, argv: string[]) {
  rmSync(at("count"), { force: true });
  const started = fork(fileURLToPath(import.meta.url), ["--child", JSON.stringify([nth, how, argv])], {
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    env: { ...process.env, QWENCH_ATTACK_ROOT: root },
    cwd: root,
  });
  const end = await ended(started, HUNG_MS);
  return { ...end, count: existsSync(at("count")) ? Number(readFileSync(at("count"), "utf8")) : 0 };
}

async function attack(name: string, n: number, seed: number): Promise<number> {
  const { argv, same } = COMMANDS[name];
  const { below } = roundsOf(seed, name);
  const straight = await start(-1, "destroyed", argv(at(name)));
  if (straight.code !== 0) throw new Error(`${name} fails undisturbed:\n${straight.said}`);
  const wanted = contentsOf(at(name));
  let [good, recovered] = [0, 0];
  for (let round = 0; round < n; round++) {
    const output = at(`${name}-${round}`);
    const how: How = round % 2 ? "lost" : "destroyed";
    const nth = below(straight.count);
    const faults: string[] = [];
    const end = await start(nth, how, argv(output));
    if (end.code === 0) recovered++;
    else {
      faults.push(...refusalFaults(end, how === "lost" ? /lost|reset/ : /destroyed|lost/));
      const again = await start(-1, how, argv(output));
      if (again.code !== 0) faults.push(`it does not continue: ${again.said.trim().split("\n").at(-1)}`);
    }
    faults.push(...differences(output, wanted, same));
    if (faults.length === 0) good++;
    else console.log(`${name}, round ${round}, dispatch ${nth} of ${straight.count}, ${how}: ${faults.join("; ")}`);
    rmSync(output, { recursive: true, force: true });
    tellProgress(name, good, round + 1, n);
  }
  console.log(
    `${name}: ${good} of ${n} losses end with an error message (or without harm: ${recovered}) and continue to the same bytes; ${straight.count} dispatches`,
  );
  return n - good;
}

async function main(): Promise<number | null> {
  const { values } = parseArgs({
    options: {
      n: { type: "string", default: "20" },
      seed: { type: "string", default: "1" },
      only: { type: "string" },
      child: { type: "string" },
    },
  });
  if (values.child) {
    const [nth, how, argv] = JSON.parse(values.child);
    await child(nth, how, argv);
    return null; // it ends by itself
  }
  const prompts = Array.from({ length: 12 }, (_, i) => `${JSON.stringify({ prompt: `Tom has ${i} apples.` })}\n`);
  writeFileSync(at("prompts.jsonl"), prompts.join(""));
  let failed = 0;
  for (const name of values.only?.split(",") ?? Object.keys(COMMANDS)) {
    failed += await attack(name, Number(values.n), Number(values.seed));
  }
  rmSync(root, { recursive: true, force: true });
  return failed > 0 ? 1 : 0;
}

const code = await main();
if (code !== null) process.exit(code);
