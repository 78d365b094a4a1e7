// A long training in short time: many steps of the embedded model with frequent checkpoints. Memory must stay constant, and no
// temporary file may remain. `npx tsx scripts/attack/long.ts [--n 20000] [--method sft|grpo] [--every 500]`

import { fork } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

/** Largest relative difference of memory from its median. */
const FLAT = 0.05;
/** Share of the run whose samples do not count, because kernels compile and buffers grow. */
const WARM_UP = 0.1;
const TENTHS = 10;

interface Sample {
  step: number;
  /** resident bytes of the process */
  rss: number;
  /** bytes of JavaScript's heap and buffers, after garbage collection */
  heap: number;
}

const LITTLE = "--per_device_train_batch_size 1 --lora_r 4 --lora_target_modules q_proj v_proj --learning_rate 1e-4";
const RECIPES: Record<string, string> = {
  sft: `${LITTLE} --lr_scheduler_type constant`,
  grpo: "--lora_r 4 --num_generations 2 --per_device_train_batch_size 2 --max_completion_length 8 --learning_rate 1e-5 --system_prompt Answer.",
};

const argvOf = (method: string, steps: number, every: number, output: string): string[] => [
  method,
  ...RECIPES[method].split(" "),
  ...`--max_steps ${steps} --logging_steps 10 --save_strategy steps --save_steps ${every} --save_total_limit 2`.split(
    " ",
  ),
  ...["--output_dir", output],
];

/** The last step in a run's metrics, or 0. */
function stepOf(output: string): number {
  const file = join(output, "metrics.jsonl");
  const lines = existsSync(file) ? readFileSync(file, "utf8").trimEnd().split("\n") : [""];
  return lines.at(-1) ? JSON.parse(lines.at(-1)!).step : 0;
}

/** Temporary files and folders of writers, in a folder and its subfolders. */
const temporaries = (folder: string) =>
  readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((path) =>
    /(^|\/)(tmp-[^/]*|[^/]*\.qwench-tmp|[^/]*\.partial|[^/]*\.lock)$/.test(path),
  );

/** In the child: trains, and reports memory every second. */
async function train(method: string, steps: number, every: number, output: string): Promise<number> {
  const { main } = await import("../../src/cli/main.ts");
  const timer = setInterval(() => {
    (globalThis as { gc?: () => void }).gc!();
    const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
    process.send!({ step: stepOf(output), rss, heap: heapUsed + arrayBuffers } satisfies Sample);
  }, 1000);
  const code = await main(argvOf(method, steps, every, output));
  clearInterval(timer);
  return code;
}

interface Ended {
  code: number | null;
  samples: Sample[];
  /** the end of its output */
  said: string;
}

function runChild(args: string[], temporary: string): Promise<Ended> {
  const samples: Sample[] = [];
  const child = fork(fileURLToPath(import.meta.url), args, {
    execArgv: [...process.execArgv, "--expose-gc"],
    env: { ...process.env, TMPDIR: temporary },
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  let said = "";
  child.stderr!.on("data", (data) => (said = (said + data).slice(-2000)));
  child.on("message", (sample: Sample) => samples.push(sample));
  return new Promise((resolve) => child.on("close", (code) => resolve({ code, samples, said })));
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;

/** Memory in consecutive parts of the run, and the largest difference from the median. */
function course(samples: readonly Sample[], of: "rss" | "heap", steps: number): { parts: number[]; worst: number } {
  const parts: number[] = [];
  for (let part = 0; part < TENTHS; part++) {
    const from = steps * (WARM_UP + ((1 - WARM_UP) * part) / TENTHS);
    const to = steps * (WARM_UP + ((1 - WARM_UP) * (part + 1)) / TENTHS);
    const within = samples.filter(({ step }) => step >= from && step < to).map((sample) => sample[of]);
    if (within.length > 0) parts.push(mean(within));
  }
  const median = [...parts].sort((a, b) => a - b)[parts.length >> 1];
  return { parts, worst: Math.max(...parts.map((part) => Math.abs(part / median - 1))) };
}

/** @returns the number of faults */
async function attack(method: string, steps: number, every: number): Promise<number> {
  const root = mkdtempSync(join(tmpdir(), "qwench-long-"));
  const [output, temporary] = [join(root, "out"), join(root, "tmp")];
  mkdirSync(temporary);
  const began = Date.now();
  const args = ["--child", output, "--n", String(steps), "--method", method, "--every", String(every)];
  const { code, samples, said } = await runChild(args, temporary);
  const seconds = (Date.now() - began) / 1000;
  const faults: string[] = [];
  if (code !== 0) faults.push(`exit code ${code}: ${said.trim()}`);
  if (stepOf(output) !== steps) faults.push(`the last logged step is ${stepOf(output)}`);
  for (const of of ["rss", "heap"] as const) {
    const { parts, worst } = course(samples, of, steps);
    console.log(`${of}: ${parts.map(megabytes).join(", ")}; at most ${(100 * worst).toFixed(1)} % from the median`);
    if (!(worst <= FLAT)) faults.push(`${of} is not constant`);
  }
  const own = readdirSync(temporary).filter((name) => !name.startsWith("tsx-")); // tsx's cache of this script
  const left = [...temporaries(output), ...own];
  if (left.length > 0) faults.push(`left behind: ${left.join(", ")}`);
  const kept = readdirSync(output).filter((name) => name.startsWith("checkpoint-"));
  if (kept.length !== Math.min(2, Math.ceil(steps / every))) faults.push(`checkpoints kept: ${kept.join(", ")}`);
  console.log(
    `${method}: ${steps} steps in ${seconds.toFixed(0)} s, ${samples.length} samples, ${left.length} temporary files; ${faults.join("; ") || "no fault"}`,
  );
  rmSync(root, { recursive: true, force: true });
  return faults.length;
}

const { values } = parseArgs({
  options: {
    n: { type: "string", default: "20000" },
    method: { type: "string", default: "sft" },
    every: { type: "string", default: "500" },
    child: { type: "string" },
  },
});
const [steps, every] = [Number(values.n), Number(values.every)];
// Dawn keeps the process alive
if (values.child) process.exit(await train(values.method, steps, every, values.child));
process.exit((await attack(values.method, steps, every)) > 0 ? 1 : 0);
