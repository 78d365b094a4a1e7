// Feeds damaged input to every reader of files and responses, and counts failures: more than 2 s of processor time, more than
// 500 MB, or an error that is not a QwenchError. `npx tsx scripts/attack/parsers.ts [--n 20000] [--seed 1] [--only
// parquet,yaml] [--workers 2]`. Each parser runs in its own process. A process that is silent for 60 s is killed and counted,
// and the run continues after its case.

import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { QwenchError } from "../../src/errors.ts";
import { drawOf } from "./mutate.ts";
import { PARSERS } from "./parser-cases.ts";

const MOST_SECONDS = 2;
const MOST_BYTES = 500e6;
const SILENCE_MS = 60_000;

interface Report {
  done: number;
  taken: number;
  refused: number;
  /** count and first example of each kind */
  faults: Record<string, { count: number; first: string }>;
  seconds: number;
}

const empty = (): Report => ({ done: 0, taken: 0, refused: 0, faults: {}, seconds: 0 });

function fault(report: Report, kind: string, what: string): void {
  const known = report.faults[kind];
  if (known) known.count++;
  else report.faults[kind] = { count: 1, first: what };
}

/** Runs cases [from, n) of a parser, and reports its progress every few cases. */
async function work(name: string, from: number, n: number, seed: number): Promise<void> {
  const parser = PARSERS[name];
  const report = empty();
  let told = Date.now();
  const tell = (): void => {
    process.send?.(report);
    told = Date.now();
  };
  for (let i = from; i < n; i++) {
    const before = process.cpuUsage();
    const [memory, most] = [process.memoryUsage.rss(), process.resourceUsage().maxRSS];
    try {
      await parser(drawOf(seed * 1_000_003 + i));
      report.taken++;
    } catch (error) {
      report.refused++;
      if (!(error instanceof QwenchError)) {
        fault(
          report,
          "foreign error",
          `case ${i}: ${(error as Error)?.stack?.split("\n").slice(0, 4).join(" | ") ?? error}`,
        );
      }
    }
    const { user, system } = process.cpuUsage(before);
    const seconds = (user + system) / 1e6;
    report.seconds = Math.max(report.seconds, seconds);
    if (seconds > MOST_SECONDS) fault(report, "over 2 s", `case ${i}: ${seconds.toFixed(1)} s`);
    const peak = process.resourceUsage().maxRSS; // in kB; it only ever rises
    if (peak > most && peak * 1024 - memory > MOST_BYTES) fault(report, "over 500 MB", `case ${i}`);
    report.done = i + 1;
    if (Date.now() - told > 1000) tell();
  }
  tell();
}

/** Runs all cases of one parser, in as many processes as needed. */
async function run(name: string, n: number, seed: number): Promise<Report> {
  const total = empty();
  for (let from = 0; from < n; ) {
    const part = await once(name, from, n, seed);
    total.taken += part.taken;
    total.refused += part.refused;
    total.seconds = Math.max(total.seconds, part.seconds);
    for (const [kind, { count, first }] of Object.entries(part.faults)) {
      for (let i = 0; i < count; i++) fault(total, kind, first);
    }
    from = part.done;
  }
  return total;
}

function once(name: string, from: number, n: number, seed: number): Promise<Report> {
  return new Promise((resolve) => {
    const args = ["--worker", name, "--from", String(from), "--n", String(n), "--seed", String(seed)];
    const child: ChildProcess = fork(fileURLToPath(import.meta.url), args, {
      execArgv: [...process.execArgv, "--max-old-space-size=1500"],
    });
    let last: Report = { ...empty(), done: from };
    let timer: NodeJS.Timeout;
    const hung = (): void => {
      // the hanging case is shortly after the last reported case; run the parser alone to find it
      fault(last, "hang", `after case ${last.done}`);
      last.done += 100;
      child.kill("SIGKILL");
    };
    const wait = (): void => {
      clearTimeout(timer);
      timer = setTimeout(hung, SILENCE_MS);
    };
    child.on("message", (report: Report) => {
      last = report;
      wait();
    });
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      if (code !== 0 && signal !== "SIGKILL") {
        fault(last, "crash", `after case ${last.done}: exit ${code ?? signal}`);
        last.done += 100;
      }
      resolve(last);
    });
    wait();
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      worker: { type: "string" },
      from: { type: "string", default: "0" },
      n: { type: "string", default: "20000" },
      seed: { type: "string", default: "1" },
      only: { type: "string" },
      workers: { type: "string", default: "2" },
    },
  });
  const [n, seed] = [Number(values.n), Number(values.seed)];
  if (values.worker) {
    await work(values.worker, Number(values.from), n, seed);
    process.exit(0);
  }
  const names = values.only?.split(",") ?? Object.keys(PARSERS);
  const unknown = names.filter((name) => !Object.hasOwn(PARSERS, name));
  if (unknown.length > 0) throw new Error(`There is no parser ${unknown[0]}: ${Object.keys(PARSERS).join(", ")}`);
  let faults = 0;
  console.log("| parser | inputs | taken | refused | longest | faults |\n|---|---|---|---|---|---|");
  const attack = async (name: string): Promise<void> => {
    const { taken, refused, seconds, faults: found } = await run(name, n, seed);
    const told = Object.entries(found).map(([kind, { count, first }]) => `${count} ${kind} (${first})`);
    faults += told.length;
    console.log(
      `| ${name} | ${taken + refused} | ${taken} | ${refused} | ${seconds.toFixed(2)} s | ${told.join("; ") || "0"} |`,
    );
  };
  const worker = async (): Promise<void> => {
    for (let name = names.shift(); name !== undefined; name = names.shift()) await attack(name);
  };
  await Promise.all(Array.from({ length: Number(values.workers) }, worker));
  process.exitCode = faults > 0 ? 1 : 0;
}

await main();
