// Kills commands at random moments with SIGKILL and restarts them until they finish. Their files must be identical, byte for
// byte, to those of an undisturbed command. `npx tsx scripts/attack/kills.ts [--n 50] [--only sft,grpo,export,eval]` runs
// dist/cli.js: run `npm run build` first.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const CLI = fileURLToPath(new URL("../../dist/cli.js", import.meta.url));
/** Most kills of one command. */
const MOST_KILLS = 3;

const root = mkdtempSync(join(tmpdir(), "qwench-kills-"));
const at = (...names: string[]) => join(root, ...names);

interface Command {
  argv(output: string, resume: boolean): string[];
  /** files whose bytes do not depend on the clock; other files must only exist */
  same: RegExp;
}

const TRAIN = "--max_steps 8 --logging_steps 1 --save_strategy steps --save_steps 2 --save_total_limit 2".split(" ");
const trained = (method: string, more: string[]) => (output: string, resume: boolean) => [
  ...[method, ...TRAIN, ...more, "--output_dir", output],
  ...(resume ? ["--resume_from_checkpoint", "true"] : []),
];
const WEIGHTS = /^(adapter_.*|tokenizer.*|checkpoint-8\/(adapter_.*|optimizer\.safetensors))$/;

const COMMANDS: Record<string, Command> = {
  sft: { argv: trained("sft", []), same: WEIGHTS },
  grpo: {
    argv: trained("grpo", [
      "--num_generations",
      "4",
      "--per_device_train_batch_size",
      "8",
      "--system_prompt",
      "Answer.",
    ]),
    same: WEIGHTS,
  },
  export: {
    argv: (output) => ["export", "--adapter", at("sft"), "--format", "merged_16bit", "--output", output],
    same: /./,
  },
  eval: {
    argv: (output) => ["eval", "--limit", "24", "--n", "2", "--temperature", "0.7", "--output", join(output, "e.json")],
    same: /./,
  },
};

interface Ended {
  code: number | null;
  said: string;
  ms: number;
}

/** Runs a command line. @param after milliseconds until the kill; null: no kill */
function run(argv: readonly string[], after: number | null): Promise<Ended> {
  const begun = Date.now();
  const child = spawn(process.execPath, [CLI, ...argv], { stdio: ["ignore", "pipe", "pipe"], cwd: root });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (said = (said + data).slice(-4000)));
  const timer = after === null ? null : setTimeout(() => child.kill("SIGKILL"), after);
  return new Promise((resolve) =>
    child.on("close", (code) => {
      if (timer) clearTimeout(timer);
      resolve({ code, said, ms: Date.now() - begun });
    }),
  );
}

/** Names and hashes of a folder's files. */
function contentsOf(folder: string): Map<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map((entry) => join(entry.parentPath, entry.name));
  return new Map(
    paths.map((path) => [relative(folder, path), createHash("sha256").update(readFileSync(path)).digest("hex")]),
  );
}

/** Differences between a command's files and the reference; empty if there are none. */
function differences(folder: string, wanted: Map<string, string>, same: RegExp): string[] {
  const found = contentsOf(folder);
  const names = new Set([...found.keys(), ...wanted.keys()]);
  return [...names].flatMap((name) => {
    if (!found.has(name)) return [`${name} is missing`];
    if (!wanted.has(name)) return [`${name} was left over`];
    return same.test(name) && found.get(name) !== wanted.get(name) ? [`${name} has other bytes`] : [];
  });
}

/** Whether a training run has a checkpoint to resume from. */
const hasCheckpoint = (output: string) =>
  existsSync(output) &&
  readdirSync(output).some((name) => /^checkpoint-\d+$/.test(name) && statSync(join(output, name)).isDirectory());

async function attack(name: string, n: number): Promise<number> {
  const { argv, same } = COMMANDS[name];
  const straight = at(name);
  const reference = await run(argv(straight, false), null);
  if (reference.code !== 0) throw new Error(`${name} fails undisturbed:\n${reference.said}`);
  const wanted = contentsOf(straight);
  let good = 0;
  let kills = 0;
  for (let round = 0; round < n; round++) {
    const output = at(`${name}-${round}`);
    let faults: string[] = [];
    for (let tries = 0; ; tries++) {
      const training = name === "sft" || name === "grpo";
      const resume = training && hasCheckpoint(output);
      const overwrite = training && !resume ? ["--overwrite_output_dir", "true"] : [];
      const after = tries < MOST_KILLS ? Math.random() * reference.ms * 1.05 : null;
      const { code, said } = await run([...argv(output, resume), ...overwrite], after);
      if (code === null) {
        kills++;
        // killed after writing the last byte, so the command is complete
        if (existsSync(output) && differences(output, wanted, same).length === 0) break;
        continue;
      }
      faults =
        code === 0 ? differences(output, wanted, same) : [`exit code ${code}: ${said.trim().split("\n").at(-1)}`];
      break;
    }
    if (faults.length === 0) good++;
    else console.log(`${name}, round ${round}: ${faults.join("; ")}`);
    rmSync(output, { recursive: true, force: true });
  }
  console.log(`${name}: ${good} of ${n} rounds end with the bytes of an undisturbed one, after ${kills} kills`);
  return n - good;
}

const { values } = parseArgs({ options: { n: { type: "string" }, only: { type: "string" } } });
const chosen = values.only?.split(",") ?? Object.keys(COMMANDS);
let lost = 0;
// exports use SFT's adapter
for (const name of Object.keys(COMMANDS))
  if (chosen.includes(name) || name === "sft")
    lost += await attack(name, chosen.includes(name) ? Number(values.n ?? 50) : 0);
rmSync(root, { recursive: true, force: true });
process.exit(lost > 0 ? 1 : 0);
