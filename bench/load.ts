import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SPECS, writeRandomCheckpoint } from "../scripts/random-checkpoint.ts";
import type { Gpu } from "../src/gpu/device.ts";
import { openCheckpoint } from "../src/io/checkpoint.ts";
import { exportTuning, importTuning, modelProducts, tuneMatmul } from "../src/kernels/matmul-tune.ts";
import { initAdapter, loadModel } from "../src/model/load.ts";
import { nodeFolder } from "../src/platform/node-fs.ts";
import { Optimizer } from "../src/train/optimizer.ts";
import { uniformFrom } from "../src/train/seed.ts";
import { median, now, since, spread, type Time } from "./measure.ts";
import { ADAMW, loraOf, stepOf } from "./models.ts";
import { about, type BenchRow } from "./rows.ts";
import { benchModel } from "./sizes.ts";

const RANK = 16;
const PARTS = ["load", "tune", "compile", "first step", "all of it"] as const;
type Parts = Record<(typeof PARTS)[number], Time>;

/**
 * From a checkpoint on disk to the end of the first step, on a device of its own each time, split into its parts:
 *
 *   load        weights read, checked, and on the GPU
 *   tune        kernel variants measured; remembered: taken from what an earlier start measured
 *   compile     what the first step took longer than the second
 *   first step  the second one, which compiles nothing
 *
 * The first start has an empty shader cache of the driver's (Mesa's), later ones find theirs.
 *
 * @param open opens another device of the same adapter
 */
export async function benchLoad(
  open: () => Promise<Gpu>,
  { tokens, rounds, layers }: { tokens: number; rounds: number; layers?: number },
): Promise<BenchRow[]> {
  const scratch = mkdtempSync(join(tmpdir(), "qwench-load-"));
  process.env.MESA_SHADER_CACHE_DIR = join(scratch, "shaders");
  try {
    const config = benchModel(layers);
    const checkpoint = join(scratch, "checkpoint");
    const spec = { ...SPECS["qwen2.5-0.5b"], num_hidden_layers: config.num_hidden_layers };
    await writeRandomCheckpoint(nodeFolder(checkpoint), spec);
    const cold = await start(open, checkpoint, tokens, null);
    const warm: Parts[] = [];
    for (let round = 0; round < rounds; round++) warm.push((await start(open, checkpoint, tokens, cold.tuning)).parts);
    const row = (what: string, gpu: Gpu, times: readonly Time[]): BenchRow => ({
      ...about(gpu),
      what,
      shape: `${config.num_hidden_layers} layers, ${tokens} tokens`,
      dtype: "bf16",
      median_ms: median(times.map(({ ms }) => ms)),
      spread: spread(times.map(({ ms }) => ms)),
      gflops: null,
      cpu_ms: median(times.map(({ cpu }) => cpu)),
      ratio: null,
      against: null,
    });
    return PARTS.flatMap((part) => [
      row(`start, empty caches: ${part}`, cold.gpu, [cold.parts[part]]),
      row(`start, remembered: ${part}`, cold.gpu, warm.map((parts) => parts[part])), // biome-ignore format: a line a row
    ]);
  } finally {
    delete process.env.MESA_SHADER_CACHE_DIR;
    rmSync(scratch, { recursive: true });
  }
}

/** One start. @param remembered tuning of an earlier one */
async function start(
  open: () => Promise<Gpu>,
  path: string,
  tokens: number,
  remembered: string | null,
): Promise<{ parts: Parts; tuning: string; gpu: Gpu }> {
  const gpu = await open();
  const began = now();
  const checkpoint = await openCheckpoint(nodeFolder(path));
  const model = await loadModel(gpu, checkpoint, { trained: { lora: loraOf(RANK) } });
  initAdapter(gpu, model, uniformFrom(1));
  await gpu.settle();
  const load = since(began);

  const tuning = now();
  if (remembered !== null) {
    const fault = importTuning(gpu, remembered);
    if (fault) throw new Error(fault);
  }
  await tuneMatmul(gpu, modelProducts(model.config, tokens, "bf16", RANK));
  const tune = since(tuning);

  const optimizer = new Optimizer(gpu, model.store!, ADAMW);
  const { run } = stepOf({ model, optimizer, r: RANK, dtype: "bf16" }, 1, tokens);
  const step = async () => {
    const record = gpu.recorder();
    const from = now();
    run(record);
    await gpu.settle();
    return since(from);
  };
  const first = await step();
  const all = since(began);
  const second = await step();
  const compile = { ms: first.ms - second.ms, cpu: first.cpu - second.cpu };
  const parts: Parts = { load, tune, compile, "first step": second, "all of it": all };
  const exported = exportTuning(gpu);
  gpu.device.destroy();
  return { parts, tuning: exported, gpu };
}
