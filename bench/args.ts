import { parseArgs } from "node:util";

export const KINDS = [
  "matmul",
  "lora",
  "attention",
  "delta",
  "delta-step",
  "delta-length",
  "vision",
  "head",
  "sft",
  "qlora",
  "grpo",
  "generate",
  "memory",
  "load",
  "peers",
  "table",
  "scale",
  "torch",
  "isa",
  "host",
] as const;
export type Kind = (typeof KINDS)[number];

/**
 * Kinds that `all` runs. It leaves out table, scale and delta-length, which repeat many measurements and take long, torch, which
 * needs PyTorch's rows, and isa, which times nothing.
 */
const ALL = KINDS.filter((kind) => !["table", "scale", "torch", "isa", "delta-length"].includes(kind));

export const HELP = `npm run bench -- ${[...KINDS, "all"].join("|")} [options]

  --tokens N   tokens of a batch (256; attention and delta: 256, 1024 and 2048; delta-step: 2048; vision: 256 and 1120 patches; memory: 256 and 512; grpo: 64 of a completion)
  --rounds N   rounds, of which the median counts (5)
  --layers N   sft, qlora, grpo, generate, memory, load, host: layers of the model (24, Qwen2.5-0.5B's)
  --most N     scale: tokens of the longest sequence (32768, which is the most)
  --seconds N  scale: budget for all axes (600); values beyond it are skipped
  --names FILE isa: write names and variants of all kernels to FILE, in the order of createComputePipeline
  --isa DIR    isa: where the driver's compiler leaves statistics (pipelines.jsonl) and machine code (asm/N.s) of each pipeline
  --profile    print time by kernel; slower, because every kernel is timed separately
  --untuned    use the first candidates, without tuning
  --json       rows as JSON lines instead of a table
  --save       append each row to bench/results.jsonl; scale: also write bench/scale.md and bench/scale.svg, and
               continue an interrupted run of this commit

delta-step compares a LoRA step of two delta nets of Qwen3.5-0.8B with one of two layers of full attention; delta-length fits the
exponent of its time over lengths of 512 to 8192. host measures the processor time of a dispatch on Dawn's null backend. peers measures jax-js and tfjs beside Qwench on the
same adapter. table prints every figure that has a limit, and
whether it meets the limit. torch ROWS measures the shapes that PyTorch was measured at on the same card, by
python bench/torch/bench.py > ROWS, and compares. isa compiles every kernel that training and decoding of Qwen2.5-0.5B's,
Qwen3-0.6B's, Qwen2.5-1.5B's and Qwen3.5-0.8B's shapes need, runs none, and prints the driver compiler's statistics. all runs ${ALL.join(", ")}.
`;

export interface BenchArgs {
  kinds: readonly Kind[];
  /** torch: file of its rows */
  rows?: string;
  tokens?: number;
  rounds: number;
  layers?: number;
  most: number;
  seconds: number;
  names?: string;
  isa?: string;
  profile: boolean;
  untuned: boolean;
  json: boolean;
  save: boolean;
}

/**
 * Parses the command line; null: help.
 *
 * @throws {Error} an unknown kind or option, or an invalid count
 */
export function parseBenchArgs(args: readonly string[]): BenchArgs | null {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      tokens: { type: "string" },
      rounds: { type: "string" },
      layers: { type: "string" },
      most: { type: "string" },
      seconds: { type: "string" },
      names: { type: "string" },
      isa: { type: "string" },
      profile: { type: "boolean", default: false },
      untuned: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      save: { type: "boolean", default: false },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return null;
  const [what, ...more] = positionals;
  const kind = KINDS.find((known) => known === what);
  if ((!kind && what !== "all") || more.length > (kind === "torch" ? 1 : 0))
    throw new Error(
      `Cannot bench ${positionals.join(" ") || "nothing"}: expected one of ${[...KINDS, "all"].join(", ")}`,
    );
  if (kind === "torch" && more.length === 0)
    throw new Error("Cannot compare with torch: name the file with the rows that python bench/torch/bench.py prints");
  const { profile, untuned, json, save } = values;
  const count = (name: "tokens" | "rounds" | "layers" | "most" | "seconds") => positive(values[name], name);
  const most = count("most") ?? 32768;
  if (most < 512 || most > 32768) throw new Error(`Cannot bench with --most ${most}: it must be from 512 to 32768`);
  return {
    kinds: kind ? [kind] : ALL,
    ...(kind === "torch" && { rows: more[0] }),
    tokens: count("tokens"),
    rounds: count("rounds") ?? 5,
    layers: count("layers"),
    most,
    seconds: count("seconds") ?? 600,
    ...(values.names !== undefined && { names: values.names }),
    ...(values.isa !== undefined && { isa: values.isa }),
    ...{ profile, untuned, json, save },
  };
}

function positive(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new Error(`Cannot bench with --${name} ${text}: it must be a positive integer`);
}
