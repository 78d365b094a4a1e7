import { readFileSync } from "node:fs";
import { type Gpu, requestGpu } from "../src/gpu/device.ts";
import { modelProducts, type Product, tuneMatmul } from "../src/kernels/matmul/matmul-tune.ts";
import { weightShapes } from "../src/model/architectures/tensors.ts";
import type { Platform } from "../src/platform/adapter.ts";
import { openAdapter } from "../src/platform/index.ts";
import { formatFixed } from "../src/text/numbers.ts";
import { renderTable } from "../src/text/tables.ts";
import { type BenchArgs, HELP, type Kind, parseBenchArgs } from "./args.ts";
import { benchAttention } from "./attention.ts";
import { benchDelta } from "./delta.ts";
import { benchGenerate } from "./generate.ts";
import { benchGrpo } from "./grpo.ts";
import { benchHead } from "./head.ts";
import { benchHost } from "./host.ts";
import { benchIsa, countPipelines, faultsOf, isaTable } from "./isa.ts";
import { benchLoad } from "./load.ts";
import { benchLora } from "./lora.ts";
import { benchMatmul } from "./matmul.ts";
import { benchMemory } from "./memory.ts";
import { benchPeers } from "./peers.ts";
import { benchDeltaLength, benchDeltaStep } from "./qwen35.ts";
import { type BenchRow, save, tableOf } from "./rows.ts";
import { benchScale, type ScaleEmit } from "./scale.ts";
import { knownRows, saveScale } from "./scale-report.ts";
import { benchQlora, benchSft } from "./sft.ts";
import { benchModel, qwen35Layers } from "./sizes.ts";
import { benchTable } from "./table.ts";
import { benchTorch, readRows } from "./torch.ts";
import { benchVision } from "./vision.ts";

const RESULTS = new URL("results.jsonl", import.meta.url);
/** Time for tuning in milliseconds: more than in a normal run, so that every kind of product is measured. */
const TUNING_MS = 30_000;

/** Products of a model in training, in every storage format that a kind measures. */
function productsOf(kind: Kind, tokens: number): Product[] {
  if (kind === "delta-step" || kind === "delta-length") {
    const types = ["linear_attention", "full_attention"] as const;
    return types.flatMap((type) => modelProducts(weightShapes(qwen35Layers(type, 1)), tokens, "bf16", 16));
  }
  const products = modelProducts(weightShapes(benchModel()), tokens, "bf16", 16);
  if (kind === "qlora") {
    for (const dtype of ["nf4", "int8"] as const)
      products.push(...modelProducts(weightShapes(benchModel()), tokens, dtype, 16, "bf16"));
  }
  if (["matmul", "peers", "table"].includes(kind)) {
    const square = { b: "f32" as const, m: 896, n: 896, k: tokens, extra: 0 };
    for (const transA of [false, true]) products.push({ ...square, transA, transB: !transA });
    products.push({ ...square, transA: false, transB: false });
  }
  return products;
}

async function tune(
  gpu: Gpu,
  kind: Kind,
  { tokens = kind.startsWith("delta-") ? 2048 : 256, untuned, json }: BenchArgs,
): Promise<void> {
  if (untuned || ["memory", "load", "isa", "host"].includes(kind)) return;
  const before = gpu.tuning.size;
  const start = performance.now();
  await tuneMatmul(gpu, productsOf(kind, tokens), { budgetMs: TUNING_MS });
  if (json || gpu.tuning.size === before) return;
  console.log(`tuned in ${((performance.now() - start) / 1000).toFixed(1)} s:`);
  for (const [key, tile] of gpu.tuning) console.log(`  ${key}  ${tile}`);
}

/** Runs one kind. `emit` receives each row. */
async function bench(kind: Kind, gpu: Gpu, platform: Platform, args: BenchArgs, emit: Emit): Promise<void> {
  const { tokens = 256, rounds, layers, most, seconds } = args;
  const fresh = async () => {
    const { adapter, waiting, spares } = await openAdapter();
    return requestGpu(adapter, { waiting, spares });
  };
  const report = (line: string) => console.error(line);
  const kinds: Record<Exclude<Kind, "table" | "scale" | "torch" | "isa">, () => Promise<BenchRow[]>> = {
    matmul: () => benchMatmul(gpu, tokens, rounds),
    lora: () => benchLora(gpu, tokens, rounds),
    attention: () => benchAttention(gpu, args.tokens ? [tokens] : [256, 1024, 2048], rounds),
    delta: () => benchDelta(gpu, args.tokens ? [tokens] : [256, 1024, 2048], rounds),
    "delta-step": () => benchDeltaStep(gpu, args.tokens ?? 2048, rounds),
    "delta-length": () => benchDeltaLength(gpu, rounds),
    vision: () => benchVision(gpu, args.tokens ? [tokens] : [256, 1120], rounds),
    head: () => benchHead(gpu, tokens, rounds),
    sft: () => benchSft(gpu, { tokens, rounds, layers }),
    qlora: () => benchQlora(gpu, { tokens, rounds, layers }),
    grpo: () => benchGrpo(gpu, { tokens: args.tokens ?? 64, rounds, layers }),
    generate: () => benchGenerate(gpu, { rounds, layers }),
    memory: () => benchMemory(fresh, args.tokens ? [tokens] : [256, 512], layers),
    load: () => benchLoad(fresh, { tokens, rounds, layers }),
    host: () => benchHost(rounds, layers),
    peers: () => benchPeers(gpu, platform, rounds, report),
  };
  if (kind === "table") return benchTable(gpu, platform, rounds, emit, report);
  if (kind === "torch") return emit(await benchTorch(gpu, readRows(args.rows!), rounds, report));
  if (kind === "isa") return isa(gpu, args);
  if (kind !== "scale") return emit(await kinds[kind]());
  const known = args.save ? knownRows(RESULTS.pathname, gpu.adapterName) : [];
  const took: ScaleEmit = (rows, points) => {
    if (rows.length > 0) emit([...rows]);
    if (args.save) saveScale(new URL(".", import.meta.url), points, gpu.adapterName, most);
  };
  await benchScale(gpu, { rounds, most, seconds, known }, took, report);
}

async function isa(gpu: Gpu, { names, isa: folder, json, save: keep }: BenchArgs): Promise<void> {
  const { kernels, rows } = await benchIsa(gpu, { names, folder });
  if (json) for (const row of rows) console.log(JSON.stringify(row));
  else if (rows.length > 0) process.stdout.write(`\n${isaTable(rows)}`);
  if (!json) console.log(`${kernels.length} kernels compiled on ${gpu.adapterName}`);
  if (keep) save(RESULTS.pathname, rows);
  const faults = faultsOf(rows);
  if (faults.length > 0) throw new Error(`Kernels miss their limits on ${gpu.adapterName}:\n${faults.join("\n")}`);
}

type Emit = (rows: BenchRow[]) => void;

async function main(argv: string[]): Promise<number> {
  const args = parseBenchArgs(argv);
  if (!args) {
    process.stdout.write(HELP);
    return 0;
  }
  if (args.kinds.includes("isa")) await countPipelines();
  const platform = await openAdapter();
  const { adapter, waiting, spares } = platform;
  const untested = args.isa !== undefined; // drivers that write listings into a folder run nothing
  const gpu = await requestGpu(adapter, { profiler: args.profile, waiting, spares, untested });
  if (!args.json) console.log(`${gpu.adapterName}, Node ${process.version}`);
  const emit = (rows: BenchRow[]) => {
    if (args.json) for (const row of rows) console.log(JSON.stringify(row));
    else process.stdout.write(`\n${tableOf(rows)}`);
    if (args.save) save(RESULTS.pathname, rows);
  };
  for (const kind of args.kinds) {
    await tune(gpu, kind, args);
    await bench(kind, gpu, platform, args, emit);
    if (args.profile) await printProfile(gpu);
    await gpu.clear();
  }
  if (args.save)
    console.error(`${readFileSync(RESULTS, "utf8").trimEnd().split("\n").length} rows in bench/results.jsonl`);
  return 0;
}

async function printProfile(gpu: Gpu): Promise<void> {
  if (!gpu.profiler) return console.error(`Cannot profile: ${gpu.adapterName} has no timestamps`);
  const table = await gpu.profiler.table();
  const total = table.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const columns = ["kernel", "times", "ms", "%"].map(
    (heading, i) => ({ heading, align: i ? "right" : "left" }) as const,
  );
  const cells = table.map((k) => [
    k.kernel,
    k.count,
    formatFixed(k.milliseconds),
    formatFixed((100 * k.milliseconds) / total),
  ]);
  process.stdout.write(`\n${renderTable(columns, cells)}`);
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code), // Dawn keeps the process alive
  (error: Error) => {
    console.error(error.message);
    process.exit(1);
  },
);
