// Two processes that use the same resource at once: an output_dir, an export's or an evaluation's output, a download, the cache
// of measured kernels. One process does the work. The other waits, or is rejected with a reason before it changes anything. The
// files must have the bytes of an undisturbed command. In every other round the first process is killed, and the second must
// not be rejected. `npx tsx scripts/attack/two.ts [--n 50] [--seed 1] [--only output_dir,export,eval,hub,tuning]` runs
// dist/cli.js: run `npm run build` first. For two tabs, see scripts/attack/tabs.ts.

import { fork } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { HUB_MODEL, openHub } from "./hub.ts";
import { contentsOf, differences, type Ended, ended, roundsOf, startCli, tellProgress } from "./rounds.ts";

const root = process.argv.includes("--child") ? tmpdir() : mkdtempSync(join(tmpdir(), "qwench-two-"));
const at = (...names: string[]) => join(root, ...names);
const HUNG_MS = 300_000;

interface Shared {
  argv(output: string): string[];
  /** files whose bytes do not depend on the clock; other files must only exist */
  same: RegExp;
  /** the second process's allowed error: the first is working, or has finished */
  refused: RegExp | null;
}

const words = (text: string) => text.split(" ");
const TRAIN = words(
  "sft --max_steps 2 --save_strategy steps --save_steps 1 --per_device_train_batch_size 2 --lora_r 4 --overwrite_output_dir true --output_dir",
);
const EVAL = words("eval --limit 2 --n 2 --temperature 0.7 --max_new_tokens 6 --output");

const SHARED: Readonly<Record<string, Shared>> = {
  output_dir: {
    argv: (output) => [...TRAIN, output],
    same: /^(adapter_.*|tokenizer.*|checkpoint-2\/(adapter_.*|optimizer\.safetensors))$/,
    refused: /^BusyError: Cannot train in .* is already working there/,
  },
  export: {
    argv: (output) => ["export", "--adapter", at("output_dir"), "--format", "lora", "--output", join(output, "lora")],
    same: /./,
    refused: /^BusyError: Cannot export to .* is already working there|exists and is not empty/,
  },
  eval: {
    argv: (output) => [...EVAL, join(output, "e.json")],
    same: /./,
    refused: /^BusyError: .* is already working there|it exists\. Replace it/,
  },
  hub: {
    argv: () => words(`generate 1+1= --model ${HUB_MODEL} --max_new_tokens 1 --temperature 0`),
    same: /./,
    refused: null,
  },
};

const last = ({ code, said }: Ended) => `exit code ${code}: ${said.trim().split("\n").slice(-8).join(" | ")}`;
/** The error message: the last line, or the line before the hint to --help. */
const sentence = ({ said }: Ended) => {
  const lines = said.trim().split("\n");
  return lines.at(lines.at(-1)?.endsWith("lists the flags.") ? -2 : -1) ?? "";
};

async function round(shared: Shared, output: string, env: NodeJS.ProcessEnv, wait: number, kill: boolean) {
  const start = () => startCli(shared.argv(output), root, env);
  const faults: string[] = [];
  if (kill) {
    await ended(start(), wait);
    const second = await ended(start(), HUNG_MS);
    // the first may already have finished
    const done = shared.refused?.test(sentence(second)) && !/already working/.test(sentence(second));
    if (second.code !== 0 && !done) faults.push(`the second was refused after the first had died: ${last(second)}`);
    return faults;
  }
  const first = ended(start(), HUNG_MS);
  await pause(wait);
  const both = await Promise.all([first, ended(start(), HUNG_MS)]);
  if (both.every(({ code }) => code !== 0)) faults.push(`both were refused: ${both.map(last).join("; ")}`);
  for (const end of both) {
    if (end.code === 0) continue;
    if (shared.refused === null) faults.push(`it was refused: ${last(end)}`);
    else if (!shared.refused.test(sentence(end))) faults.push(`it failed otherwise: ${last(end)}`);
  }
  return faults;
}

async function attack(name: string, n: number, seed: number, hub: { url: string; downloads: string[] }) {
  const shared = SHARED[name];
  const { below } = roundsOf(seed, name);
  const envOf = (folder: string) => ({ ...process.env, HF_ENDPOINT: hub.url, HF_HUB_CACHE: folder });
  const straight = await ended(startCli(shared.argv(at(name)), root, envOf(at(name))));
  if (straight.code !== 0) throw new Error(`${name} fails undisturbed:\n${straight.said}`);
  const wanted = contentsOf(at(name));
  const files = hub.downloads.length;
  let good = 0;
  for (let i = 0; i < n; i++) {
    const output = at(`${name}-${i}`);
    hub.downloads.length = 0;
    const kill = i % 2 === 1;
    const wait = below(kill ? straight.ms * 1.1 : straight.ms / 2);
    const faults = await round(shared, output, envOf(output), wait, kill);
    faults.push(...differences(output, wanted, shared.same));
    if (name === "hub" && !kill && hub.downloads.length !== files) {
      faults.push(`${hub.downloads.length} downloads of ${files} files`);
    }
    if (faults.length === 0) good++;
    else console.log(`${name}, round ${i}, ${kill ? "killed" : "second"} after ${wait} ms: ${faults.join("; ")}`);
    rmSync(output, { recursive: true, force: true });
    tellProgress(name, good, i + 1, n);
  }
  console.log(`${name}: ${good} of ${n} rounds correct`);
  return n - good;
}

/** In a child: repeatedly writes and reads the cache of measurements. */
async function child(own: string): Promise<number> {
  const { tuningStore } = await import("../../src/cli/runs/tuning.ts");
  const store = tuningStore();
  for (let i = 0; i < 30; i++) {
    await store.write("adapter", JSON.stringify({ own, i, tiles: own.repeat(20_000) }));
    const read = JSON.parse((await store.read("adapter"))!);
    if (read.tiles !== read.own.repeat(20_000)) throw new Error("The cache is damaged");
  }
  return 0;
}

async function attackTuning(n: number): Promise<number> {
  let good = 0;
  for (let i = 0; i < n; i++) {
    const cache = at(`tuning-${i}`);
    mkdirSync(cache);
    const env = { ...process.env, XDG_CACHE_HOME: cache };
    const start = (own: string) =>
      ended(fork(fileURLToPath(import.meta.url), ["--child", own], { env, stdio: ["ignore", "pipe", "pipe", "ipc"] }));
    const both = await Promise.all([start("a"), start("b")]);
    const faults = both.filter(({ code }) => code !== 0).map(last);
    const folder = join(cache, "qwench", "tuning");
    const left = readdirSync(folder);
    if (left.length !== 1) faults.push(`left behind: ${left.join(", ")}`);
    JSON.parse(readFileSync(join(folder, left[0]), "utf8"));
    if (faults.length === 0) good++;
    else console.log(`tuning, round ${i}: ${faults.join("; ")}`);
  }
  console.log(`tuning: ${good} of ${n} rounds correct, 60 writes each`);
  return n - good;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      n: { type: "string", default: "50" },
      seed: { type: "string", default: "1" },
      only: { type: "string" },
      child: { type: "string" },
    },
  });
  if (values.child) return child(values.child);
  const hub = await openHub();
  const n = Number(values.n);
  const chosen = values.only?.split(",") ?? [...Object.keys(SHARED), "tuning"];
  let lost = 0;
  // exports use SFT's adapter
  for (const name of Object.keys(SHARED)) {
    if (chosen.includes(name) || (name === "output_dir" && chosen.includes("export"))) {
      lost += await attack(name, chosen.includes(name) ? n : 0, Number(values.seed), hub);
    }
  }
  if (chosen.includes("tuning")) lost += await attackTuning(n);
  hub.close();
  rmSync(root, { recursive: true, force: true });
  return lost > 0 ? 1 : 0;
}

process.exit(await main());
