// Lets a disk, or a quota, fill up at the moment when a command writes a certain file. It must end with a sentence, all that
// was there must be whole, and the same command must come to its end once there is room again, with the bytes of one that
// was not disturbed. `npx tsx scripts/attack/full-disk.ts [--n 10] [--seed 1] [--only checkpoint,report] [--disk disk|quota]`
// runs dist/cli.js (`npm run build` before) and needs root on Linux: it mounts a tmpfs, and for the quota btrfs (the package btrfs-progs).

import { fork } from "node:child_process";
import * as sync from "node:fs";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { mountDisk, type SmallDisk } from "./disks.ts";
import { HUB_MODEL, openHub } from "./hub.ts";
import {
  argvOf,
  contentsOf,
  differences,
  ended,
  hasCheckpoint,
  hashOf,
  refusalFaults,
  roundsOf,
  runCli,
  startCli,
  WEIGHTS,
} from "./rounds.ts";

const BALLAST = "ballast";
const HUNG_MS = 300_000;
/** Temporary files: claims, and folders before their rename. */
const FLEETING = /\.lock(\.removing)?$|\.qwench-tmp$|^(.*\/)?(tmp-[^/]*|[^/]*\.partial)\/|^home\/|^ballast$/;

interface Writer {
  /** the file during whose write the disk fills up, relative to the disk */
  file: RegExp;
  argv(disk: string): string[];
  /** files of the disk whose bytes do not depend on the clock; other files must only exist */
  same: RegExp;
  /** whether a command works without this file */
  spared?: boolean;
  /** whether an earlier result exists */
  before?: boolean;
}

const training = (method: string, file: RegExp, more: Partial<Writer> = {}): Writer => ({
  file,
  argv: (disk) => argvOf(method, join(disk, "out"), hasCheckpoint(join(disk, "out"))),
  same: new RegExp(WEIGHTS.source.replace("^", "^out/")),
  ...more,
});
const GENERATE = "--max_new_tokens 12 --temperature 0.8 --seed 3 --output".split(" ");
const EVAL = "eval --limit 12 --n 2 --max_new_tokens 16 --temperature 0.7 --output".split(" ");

const root = process.env.QWENCH_ATTACK_ROOT ?? mkdtempSync(join(tmpdir(), "qwench-full-"));
const at = (...names: string[]) => join(root, ...names);

const WRITERS: Readonly<Record<string, Writer>> = {
  checkpoint: training("sft", /^out\/tmp-checkpoint-/),
  "checkpoint of GRPO": training("grpo", /^out\/tmp-checkpoint-/),
  final: training("sft", /^out\/tmp-final\//),
  "final over an earlier one": training("sft", /^out\/tmp-final\//, { before: true }),
  metrics: training("sft", /^out\/metrics\.jsonl$/),
  completions: training("grpo", /^out\/completions\//),
  report: training("sft", /^out\/report\.html$/),
  claim: training("sft", /^out\/qwench\.lock$/, { before: true }),
  "eval as it goes": { file: /^e\.json\.partial$/, argv: (disk) => [...EVAL, join(disk, "e.json")], same: /./ },
  eval: { file: /^e\.json$/, argv: (disk) => [...EVAL, join(disk, "e.json")], same: /./ },
  generate: {
    file: /^rows\.jsonl(\.partial)?$/,
    argv: (disk) => ["generate", "--file", at("prompts.jsonl"), ...GENERATE, join(disk, "rows.jsonl")],
    same: /./,
  },
  "export lora": {
    file: /^lora\.partial\//,
    argv: (disk) => ["export", "--adapter", at("sft"), "--format", "lora", "--output", join(disk, "lora")],
    same: /./,
  },
  "export merged": {
    file: /^merged\.partial\//,
    argv: (disk) => ["export", "--adapter", at("sft"), "--format", "merged_16bit", "--output", join(disk, "merged")],
    same: /./,
  },
  cache: {
    file: /^hub\/.*\.(json|safetensors|incomplete)$/,
    argv: () => ["generate", "1+1=", "--model", HUB_MODEL, "--max_new_tokens", "1", "--temperature", "0"],
    same: /./,
    spared: true,
  },
  tuning: { file: /^cache\/qwench\/tuning\//, argv: () => ["tuning"], same: /./, spared: true, before: true },
};

/** Names, hashes and sizes of files. */
type Before = [name: string, hash: string, size: number][];
/** Files that grow line by line. Their earlier contents must stay at their beginning. */
const GROWING = /(^|\/)metrics\.jsonl$|\/completions_\d+\.jsonl$|\.partial$|\.part$/;

/** The child's report: the number of writes to the file, and the disk's contents when it was full. */
interface Told {
  count: number;
  before: Before | null;
}

/** In the child: the disk fills up when `file` is written for the `nth` time, up to some bytes. */
async function child(file: RegExp, nth: number, left: number, disk: string, argv: string[]): Promise<number | null> {
  const { promises: fs } = sync;
  const told: Told = { count: 0, before: null };
  const tell = () => writeFileSync(at(`told-${process.ppid}`), JSON.stringify(told));
  const look = (path: unknown) => {
    const name = String(path).slice(disk.length + 1);
    const plain = name.replace(/(^|\/)\.([^/]+)\.\d+-[0-9a-z]+\.qwench-tmp$/, "$1$2");
    if (!String(path).startsWith(disk) || !file.test(plain) || told.count++ !== nth) return tell();
    fill(join(disk, BALLAST), left);
    const files = [...contentsOf(disk)].filter(([known]) => !FLEETING.test(known));
    told.before = files.map(([known, hash]) => [known, hash, sync.statSync(join(disk, known)).size]);
    tell();
  };
  const { open, appendFile, writeFile } = fs;
  fs.open = (path, flags, ...rest) => {
    if (flags === "wx") look(path);
    return open(path, flags, ...rest);
  };
  fs.writeFile = (path, ...rest) => {
    look(path);
    return writeFile(path, ...rest);
  };
  fs.appendFile = (path, ...rest) => {
    look(path);
    return appendFile(path, ...rest);
  };
  tell();
  if (argv[0] !== "tuning") {
    await runCli(argv);
    return null; // it ends by itself
  }
  const { tuningStore } = await import("../../src/cli/runs/tuning.ts");
  await tuningStore().write("adapter", JSON.stringify({ tiles: "8x8".repeat(2000) }));
  return 0;
}

/** Fills the disk, and frees a few bytes. */
function fill(path: string, left: number): void {
  const handle = sync.openSync(path, "w");
  let written = 0;
  for (const size of [65536, 4096, 512]) {
    try {
      for (;;) written += sync.writeSync(handle, new Uint8Array(size));
    } catch {
      // no room for pieces of this size
    }
  }
  sync.closeSync(handle);
  if (left > 0) sync.truncateSync(path, Math.max(0, written - left));
}

async function start(writer: Writer, disk: SmallDisk, env: NodeJS.ProcessEnv, nth: number, left: number) {
  const args = ["--child", JSON.stringify([writer.file.source, nth, left, disk.path, writer.argv(disk.path)])];
  const started = fork(fileURLToPath(import.meta.url), args, {
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    env: { ...env, QWENCH_ATTACK_ROOT: root },
    cwd: root,
  });
  const end = await ended(started, HUNG_MS);
  const told: Told = JSON.parse(readFileSync(at(`told-${process.pid}`), "utf8"));
  return { ...end, ...told };
}

/** Faults after the disk was full. */
function harm(disk: SmallDisk, before: Before): string[] {
  const now = contentsOf(disk.path);
  const lost = before.filter(([name, hash, size]) => {
    if (!now.has(name) && name.endsWith(".part") && now.has(name.slice(0, -".part".length))) return false; // it was finished
    if (!now.has(name) || !GROWING.test(name)) return now.get(name) !== hash;
    return hashOf(readFileSync(join(disk.path, name)).subarray(0, size)) !== hash;
  });
  const left = [...now.keys()].filter((name) => name.endsWith(".qwench-tmp"));
  return [
    ...lost.map(([name]) => `${name} was ${now.has(name) ? "changed" : "lost"}`),
    ...left.map((name) => `${name} was left over`),
  ];
}

async function attack(name: string, disk: SmallDisk, n: number, seed: number, env: NodeJS.ProcessEnv): Promise<number> {
  const writer = WRITERS[name];
  const { below } = roundsOf(seed, `${name} ${disk.kind}`);
  const prepare = () => {
    disk.clear();
    if (writer.before && name === "tuning") writeFileSync(tuningFile(disk), '{"tiles":"4x4"}');
    else if (writer.before) cpSync(at("earlier"), join(disk.path, "out"), { recursive: true });
  };
  prepare();
  const straight = await start(writer, disk, env, -1, 0);
  if (straight.code !== 0) throw new Error(`${name} fails undisturbed:\n${straight.said}`);
  if (straight.count === 0) throw new Error(`${name} writes no file with that name`);
  const wanted = contentsOf(disk.path);
  let good = 0;
  for (let round = 0; round < n; round++) {
    prepare();
    const left = disk.kind === "disk" ? below(3) * below(9000) : 0; // a full quota does not allow shortening a file
    const end = await start(writer, disk, env, below(straight.count), left);
    const faults: string[] = [];
    // a short file may fit into the remaining bytes
    const full = /\b(full|has no room|cannot be written)\b/;
    if (end.code !== 0 && end.before === null) faults.push(`it failed before: ${end.said.trim().split("\n").at(-1)}`);
    else if (end.code !== 0 && name !== "tuning") faults.push(...refusalFaults(end, full));
    if (end.code !== 0 && end.before) faults.push(...harm(disk, end.before));
    rmSync(join(disk.path, BALLAST), { force: true });
    if (end.code !== 0 || writer.spared) {
      const again = await start(writer, disk, env, -1, 0);
      if (again.code !== 0) faults.push(`it does not continue: ${again.said.trim().split("\n").at(-1)}`);
    }
    faults.push(...differences(disk.path, wanted, writer.same));
    if (faults.length === 0) good++;
    else console.log(`${name} on a full ${disk.kind}, round ${round}: ${faults.join("; ")}`);
  }
  console.log(`| ${name} | ${disk.kind} | ${good} of ${n} |`);
  return n - good;
}

function tuningFile(disk: SmallDisk): string {
  const folder = join(disk.path, "cache/qwench/tuning");
  cpSync(at("tuning"), folder, { recursive: true });
  return join(folder, readdirSync(at("tuning"))[0]);
}

async function main(): Promise<number | null> {
  const { values } = parseArgs({
    options: {
      n: { type: "string", default: "10" },
      seed: { type: "string", default: "1" },
      only: { type: "string" },
      disk: { type: "string" },
      child: { type: "string" },
    },
  });
  if (values.child) {
    const [file, nth, left, disk, argv] = JSON.parse(values.child);
    return child(new RegExp(file), nth, left, disk, argv);
  }
  if (process.platform !== "linux" || process.getuid!() !== 0)
    throw new Error("This script mounts disks, so it needs root on Linux");
  const hub = await openHub();
  const kinds = (values.disk?.split(",") ?? ["disk", "quota"]) as SmallDisk["kind"][];
  const prompts = Array.from({ length: 6 }, (_, i) => `${JSON.stringify({ prompt: `Tom has ${i} apples.` })}\n`);
  writeFileSync(at("prompts.jsonl"), prompts.join(""));
  for (const folder of ["sft", "earlier"]) {
    const argv = [...argvOf("sft", at(folder), false), "--seed", folder === "sft" ? "1" : "2"];
    if ((await ended(startCli(argv, root))).code !== 0) throw new Error("Cannot make an adapter to begin with");
  }
  process.env.XDG_CACHE_HOME = at("elsewhere");
  const { tuningStore } = await import("../../src/cli/runs/tuning.ts");
  await tuningStore().write("adapter", "{}");
  cpSync(at("elsewhere/qwench/tuning"), at("tuning"), { recursive: true });
  let lost = 0;
  console.log("| writer | full | correct |\n|---|---|---|");
  for (const kind of kinds) {
    const disk = mountDisk(kind, root);
    const env = {
      ...process.env,
      HF_ENDPOINT: hub.url,
      HF_HUB_CACHE: join(disk.path, "hub"),
      XDG_CACHE_HOME: at("cache"),
      MESA_SHADER_CACHE_DIR: process.env.MESA_SHADER_CACHE_DIR ?? join(homedir(), ".cache"), // compiled kernels
    };
    try {
      for (const name of values.only?.split(",") ?? Object.keys(WRITERS)) {
        const own = name === "tuning" ? { ...env, XDG_CACHE_HOME: join(disk.path, "cache") } : env;
        lost += await attack(name, disk, Number(values.n), Number(values.seed), own);
      }
    } finally {
      disk.unmount();
    }
  }
  hub.close();
  rmSync(root, { recursive: true, force: true });
  return lost > 0 ? 1 : 0;
}

const code = await main();
if (code !== null) process.exit(code);
