import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { renderTable } from "../src/cli/table.ts";
import { requestGpu } from "../src/gpu/device.ts";
import { modelProducts, tuneMatmul } from "../src/kernels/matmul-tune.ts";
import { openAdapter } from "../src/platform/index.ts";
import { benchAttention } from "./attention.ts";
import { benchGenerate } from "./generate.ts";
import { benchLora } from "./lora.ts";
import { benchMatmul } from "./matmul.ts";
import { type BenchRow, save, tableOf } from "./rows.ts";
import { benchQlora, benchSft } from "./sft.ts";
import { benchModel } from "./sizes.ts";

const HELP = `npm run bench -- matmul|lora|attention|sft|qlora|generate [options]

  --tokens N   tokens of a batch (256; attention: 256, 1024 and 2048)
  --rounds N   rounds, of which the median counts (5)
  --layers N   sft, qlora, generate: layers of the model (24, Qwen2.5-0.5B's)
  --profile    print time by kernel; slower, as every kernel is then timed by itself
  --untuned    first candidates, nothing measured beforehand
  --json       rows as JSON lines instead of a table
  --save       append the rows to bench/results.jsonl
`;

const KINDS = ["matmul", "lora", "attention", "sft", "qlora", "generate"];
const RESULTS = new URL("results.jsonl", import.meta.url);

/** A flag that counts something. */
function count(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new Error(`Cannot bench with --${name} ${text}: it must be a positive integer`);
}

async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      tokens: { type: "string" },
      rounds: { type: "string" },
      layers: { type: "string" },
      profile: { type: "boolean" },
      untuned: { type: "boolean" },
      json: { type: "boolean" },
      save: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    },
  });
  const [what] = positionals;
  if (values.help || positionals.length !== 1 || !KINDS.includes(what)) {
    process.stdout.write(HELP);
    return values.help ? 0 : 2;
  }
  const [tokens, rounds, layers] = (["tokens", "rounds", "layers"] as const).map((name) => count(values[name], name));
  const { adapter, waiting } = await openAdapter();
  const gpu = await requestGpu(adapter, { profile: values.profile, waiting });
  if (!values.json) console.log(`${gpu.adapterName}, Node ${process.version}`);
  const products = modelProducts(benchModel(), tokens ?? 256, "bf16", 16);
  if (what === "qlora") {
    for (const dtype of ["nf4", "int8"] as const)
      products.push(...modelProducts(benchModel(), tokens ?? 256, dtype, 16, "bf16"));
  }
  const square = { b: "f32" as const, m: 896, n: 896, k: tokens ?? 256, extra: 0 };
  if (what === "matmul") {
    for (const transA of [false, true]) products.push({ ...square, transA, transB: !transA });
    products.push({ ...square, transA: false, transB: false });
  }
  if (!values.untuned && what !== "attention" && what !== "generate") {
    const start = performance.now();
    await tuneMatmul(gpu, products, what === "qlora" ? { budgetMs: 20_000 } : {});
    if (!values.json) {
      console.log(`tuned in ${((performance.now() - start) / 1000).toFixed(1)} s:`);
      for (const [key, tile] of gpu.tuning) console.log(`  ${key}  ${tile}`);
    }
  }
  let rows: BenchRow[];
  if (what === "matmul") rows = await benchMatmul(gpu, tokens ?? 256, rounds ?? 5);
  else if (what === "lora") rows = await benchLora(gpu, tokens ?? 256, rounds ?? 5);
  else if (what === "attention") rows = await benchAttention(gpu, tokens ? [tokens] : [256, 1024, 2048], rounds ?? 5);
  else if (what === "generate") rows = await benchGenerate(gpu, { rounds: rounds ?? 5, layers });
  else if (what === "qlora") rows = await benchQlora(gpu, { tokens: tokens ?? 256, rounds: rounds ?? 5, layers });
  else rows = await benchSft(gpu, { tokens: tokens ?? 256, rounds: rounds ?? 5, layers });
  if (values.json) for (const row of rows) console.log(JSON.stringify(row));
  else process.stdout.write(`\n${tableOf(rows)}`);
  if (gpu.profiler) {
    const table = await gpu.profiler.table();
    const total = table.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
    const columns = ["kernel", "times", "ms", "%"].map(
      (heading, i) => ({ heading, align: i ? "right" : "left" }) as const,
    );
    const cells = table.map((k) => [
      k.kernel,
      k.count,
      k.milliseconds.toFixed(1),
      ((100 * k.milliseconds) / total).toFixed(1),
    ]);
    process.stdout.write(`\n${renderTable(columns, cells)}`);
  }
  if (values.save) {
    save(RESULTS.pathname, rows);
    console.error(`${readFileSync(RESULTS, "utf8").trimEnd().split("\n").length} rows in bench/results.jsonl`);
  }
  return 0;
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code), // Dawn keeps the process alive
  (error: Error) => {
    console.error(error.message);
    process.exit(1);
  },
);
