// `npm run gpu-day`: what there is to know of a machine with a GPU, in one command and at most 12 minutes: gpu-day.json and
// gpu-day.html in the folder of --output. Every part is a process of its own: one that fails or hangs takes no other along.
//
//   --output DIR   folder (gpu-day)
//   --minutes N    for all parts together (12); what does not fit is left out, and said to be
//   --small        sizes for a CPU adapter: whether everything runs, not how fast
//   --isa DIR      as bench isa has it
import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { requestGpu } from "../src/gpu/device.ts";
import { openAdapter } from "../src/platform/index.ts";
import { type Day, type DayPart, dayPage } from "./gpu-day-page.ts";
import { decodingRows, stepRows } from "./gpu-day-parts.ts";
import { commit } from "./rows.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const SELF = "bench/gpu-day.ts";
const LINES = 200;

/** Parts in their order: the arguments of a program of this repository, and seconds that it may take. */
function partsOf(small: boolean, output: string, isa: string | undefined) {
  const bench = (...more: string[]) => ["bench/main.ts", ...more, "--json"];
  const layers = small ? ["--layers", "1"] : [];
  const size = small ? ["--small"] : [];
  const products = small ? ["--tokens", "64", "--untuned"] : ["--tokens", "4096"];
  return [
    { name: "info", args: ["src/cli/bin.ts", "info"], seconds: 30 },
    { name: "isa", args: isa ? bench("isa", "--isa", isa) : ["bench/main.ts", "isa"], seconds: 90 },
    { name: "products", args: bench("matmul", "--rounds", "3", ...products), seconds: 120 },
    { name: "step", args: [SELF, "--part", "step", ...size], seconds: 120 },
    { name: "decoding", args: [SELF, "--part", "decoding", ...size], seconds: 120 },
    { name: "grpo", args: bench("grpo", "--rounds", "2", "--tokens", small ? "8" : "256", ...layers), seconds: 120 },
    {
      name: "embedded",
      args: ["src/cli/bin.ts", "sft", "--max_steps", small ? "3" : "50", "--output_dir", join(output, "embedded")],
      seconds: 90,
    },
    { name: "doctor", args: ["src/cli/bin.ts", "doctor"], seconds: 180 },
    { name: "parity", args: ["tests/parity/parity.ts"], seconds: 180 },
  ];
}

/** Runs a program of this repository; ends it when its time is over. */
function run(name: string, args: readonly string[], seconds: number): Promise<DayPart> {
  const start = performance.now();
  const command = `npx tsx ${args.join(" ")}`;
  return new Promise((done) => {
    const child = spawn(process.execPath, ["--import", "tsx", ...args], {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let text = "";
    let late = false;
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8");
      stream.on("data", (piece: string) => (text += piece));
    }
    const timer = setTimeout(() => {
      late = true;
      child.kill("SIGKILL");
    }, 1000 * seconds);
    const ended = (end: number | string) => {
      clearTimeout(timer);
      const rows: Record<string, unknown>[] = [];
      const rest = text.split("\n").filter((line) => {
        if (!line.startsWith("{")) return true;
        try {
          rows.push(JSON.parse(line));
          return false;
        } catch {
          return true;
        }
      });
      const why = late ? `stopped after ${seconds.toFixed(0)} s` : end;
      done({
        name,
        command,
        seconds: (performance.now() - start) / 1000,
        end: why,
        rows,
        text: rest.slice(-LINES).join("\n").trim(),
      });
    };
    child.on("error", (error) => ended(error.message));
    child.on("close", (code, signal) => ended(code ?? String(signal)));
  });
}

/** A part that has no command of its own: its rows go to standard output. */
async function part(name: string, small: boolean): Promise<void> {
  const { adapter, waiting, spares, f16 } = await openAdapter();
  const gpu = await requestGpu(adapter, { waiting, spares, disable: f16 ? [] : ["f16"] });
  const rows = name === "step" ? await stepRows(gpu, small) : await decodingRows(gpu, small);
  for (const row of rows) console.log(JSON.stringify(row));
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      output: { type: "string", default: "gpu-day" },
      minutes: { type: "string", default: "12" },
      small: { type: "boolean", default: false },
      isa: { type: "string" },
      part: { type: "string" },
    },
  });
  const { output, small, isa } = values;
  if (values.part) {
    if (!["step", "decoding"].includes(values.part))
      throw new Error(`Cannot run part ${values.part}: step or decoding`);
    await part(values.part, small);
    return 0;
  }
  const minutes = Number(values.minutes);
  if (!(minutes > 0)) throw new Error(`Cannot run for --minutes ${values.minutes}: it must be a number above 0`);
  mkdirSync(output, { recursive: true });
  const start = performance.now();
  const spent = () => (performance.now() - start) / 1000;
  const day: Day = {
    commit: commit(),
    date: new Date().toISOString(),
    node: process.version,
    small,
    seconds: 0,
    parts: [],
  };
  for (const { name, args, seconds } of partsOf(small, output, isa)) {
    const left = 60 * minutes - spent();
    const done =
      left < 5
        ? { name, command: `npx tsx ${args.join(" ")}`, seconds: 0, end: "left out: no time", rows: [], text: "" }
        : await run(name, args, Math.min(seconds, left));
    day.parts.push(done);
    day.seconds = spent();
    console.log(
      `${done.name.padEnd(10)} ${done.seconds.toFixed(0).padStart(4)} s  ${done.end === 0 ? "ok" : `NOT OK: ${done.end}`}`,
    );
    // after each part: what is there is kept if the machine goes away
    writeFileSync(join(output, "gpu-day.json"), `${JSON.stringify(day, null, 1)}\n`);
    writeFileSync(join(output, "gpu-day.html"), dayPage(day));
  }
  console.log(
    `${day.seconds.toFixed(0)} s in all; ${join(output, "gpu-day.html")} and ${join(output, "gpu-day.json")}`,
  );
  return day.parts.every(({ end }) => end === 0) ? 0 : 1;
}

if (process.argv[1] && fileURLToPath(import.meta.url) === resolve(process.argv[1])) {
  main().then(
    (code) => process.exit(code), // Dawn keeps the process alive
    (error: Error) => {
      console.error(error.message);
      process.exit(1);
    },
  );
}
