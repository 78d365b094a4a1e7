import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { drawOf } from "./mutate.ts";

// Helpers of the attacks on commands: starting them, ending them, and checking their files.

/** The command line, built by `npm run build`. */
const CLI = fileURLToPath(new URL("../../dist/cli.js", import.meta.url));

/** Extra flags of a training run by method, added to those of `argvOf`. A new method is a new entry. */
export const METHODS: Readonly<Record<string, string>> = {
  sft: "--per_device_train_batch_size 2 --lora_r 4",
  dpo: "--per_device_train_batch_size 2 --lora_r 4",
  grpo: "--lora_r 4 --num_generations 2 --per_device_train_batch_size 4 --max_completion_length 16 --system_prompt Answer.",
};

const words = (text: string) => text.split(" ").filter(Boolean);

/** A command line that trains the embedded model for 8 steps with a checkpoint every second step. */
export function argvOf(method: string, output: string, resume: boolean): string[] {
  const common = "--max_steps 8 --logging_steps 1 --save_strategy steps --save_steps 2 --save_total_limit 2";
  const how = resume ? "--resume_from_checkpoint true" : "--overwrite_output_dir true";
  return [method, ...words(`${common} ${METHODS[method]} ${how}`), "--output_dir", output];
}

/** Files of such a run whose bytes do not depend on the clock. */
export const WEIGHTS = /^(adapter_.*|tokenizer.*|checkpoint-8\/(adapter_.*|optimizer\.safetensors))$/;

/** How a process ended. */
export interface Ended {
  /** null: ended by a signal */
  code: number | null;
  /** the end of its output, from both streams */
  said: string;
  ms: number;
}

/** Waits for a process. @param after milliseconds until the kill; null: no kill */
export function ended(child: ChildProcess, after: number | null = null): Promise<Ended> {
  const begun = Date.now();
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (data) => (said = (said + data).slice(-8000)));
  const timer = after === null ? null : setTimeout(() => child.kill("SIGKILL"), after);
  return new Promise((resolve) =>
    child.on("close", (code) => {
      if (timer) clearTimeout(timer);
      resolve({ code, said, ms: Date.now() - begun });
    }),
  );
}

/** Starts the built command line. */
export function startCli(argv: readonly string[], cwd: string, env: NodeJS.ProcessEnv = process.env): ChildProcess {
  return spawn(process.execPath, [CLI, ...argv], { stdio: ["ignore", "pipe", "pipe"], cwd, env });
}

export const hashOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** Runs the built command line in this process, which ends with it. */
export async function runCli(argv: readonly string[]): Promise<void> {
  process.argv.splice(1, process.argv.length, CLI, ...argv);
  await import(CLI);
}

/** Names and hashes of a folder's files; none where there is no folder. */
export function contentsOf(folder: string): Map<string, string> {
  if (!existsSync(folder)) return new Map();
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map((entry) => join(entry.parentPath, entry.name));
  return new Map(paths.map((path) => [relative(folder, path), hashOf(readFileSync(path))]));
}

/**
 * Differences between a command's files and the reference; empty if there are none.
 *
 * @param same files whose bytes are compared
 */
export function differences(folder: string, wanted: ReadonlyMap<string, string>, same: RegExp): string[] {
  const found = contentsOf(folder);
  const names = new Set([...found.keys(), ...wanted.keys()]);
  return [...names].flatMap((name) => {
    if (!found.has(name)) return [`${name} is missing`];
    if (!wanted.has(name)) return [`${name} was left over`];
    return same.test(name) && found.get(name) !== wanted.get(name) ? [`${name} has other bytes`] : [];
  });
}

/** Whether a training run has a checkpoint to resume from. */
export const hasCheckpoint = (output: string) =>
  existsSync(output) &&
  readdirSync(output).some((name) => /^checkpoint-\d+$/.test(name) && statSync(join(output, name)).isDirectory());

/**
 * Faults in how a command failed. It must end by itself, its last line must be a Qwench error of the given kind, and it must
 * not print a stack.
 */
export function refusalFaults({ code, said }: Ended, expected: RegExp): string[] {
  const last = said.trim().split("\n").at(-1) ?? "";
  if (code === null) return [`it hung; its last line is: ${last}`];
  if (code === 0) return ["it ended without an error"];
  if (/^ +at .*:\d+/m.test(said)) return [`it ended with a stack: ${said.trim().split("\n").slice(-6).join(" | ")}`];
  return /^\w+Error: Cannot .+|^\w+Error: The .+/.test(last) && expected.test(last)
    ? []
    : [`its last line is: ${last}`];
}

/** Random numbers for a round of an attack. */
export function roundsOf(seed: number, name: string) {
  const hash = [...name].reduce((sum, letter) => (Math.imul(sum, 31) + letter.charCodeAt(0)) >>> 0, 7);
  const draw = drawOf(seed * 1_000_003 + hash);
  for (let i = 0; i < 8; i++) draw(); // skip the first numbers, which are similar for similar seeds
  return { draw, below: (n: number) => Math.floor(draw() * n) };
}

/** Says now and then how far an attack is: it may be ended before its end. */
export function tellProgress(name: string, good: number, done: number, of: number): void {
  if (done % 5 === 0 && done < of) console.log(`${name}: ${good} of ${done} so far`);
}
