import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SPECS, writeRandomCheckpoint } from "../scripts/random-checkpoint.ts";
import type { Gpu } from "../src/gpu/device.ts";
import { openCheckpoint } from "../src/io/checkpoint.ts";
import { exportTuning, importTuning, modelProducts, tuneMatmul } from "../src/kernels/matmul/matmul-tune.ts";
import { weightShapes } from "../src/model/architectures/tensors.ts";
import { parseModelConfig } from "../src/model/config.ts";
import { initAdapter, loadModel, weightDTypes } from "../src/model/files/load.ts";
import { nodeFolder } from "../src/platform/node/fs.ts";
import { kernelsOfSft } from "../src/train/forecast/sft.ts";
import { Optimizer } from "../src/train/optimizer.ts";
import { uniformFrom } from "../src/train/seed.ts";
import { median, now, ratioOf, since, spread, type Time } from "./measure.ts";
import { ADAMW, loraOf, microBatch, stepOf } from "./models.ts";
import { about, type BenchRow } from "./rows.ts";
import { benchModel } from "./sizes.ts";

const RANK = 16;
const PARTS = ["tune", "load", "compile", "first step", "all of it"] as const;
type Parts = Record<(typeof PARTS)[number], Time>;

/** Conditions of a start. */
interface Start {
  tokens: number;
  /** tuning results of an earlier start */
  remembered: string | null;
  /** whether pipelines are compiled while weights load, not at first use */
  ahead: boolean;
}

/**
 * From a checkpoint on disk to the end of the first step, on a new device each time, in the parts of `qwench sft`:
 *
 *   tune        kernel variants are measured; remembered: read from an earlier start
 *   load        weights are read, checked and uploaded while pipelines compile
 *   compile     the remaining compilation, and the extra time of the first step over the second
 *   first step  the time of the second step, which compiles nothing
 *
 * The first two starts each have an empty shader cache of the driver (Mesa); later starts find theirs filled.
 *
 * @param open opens another device of the same adapter
 */
export async function benchLoad(
  open: () => Promise<Gpu>,
  { tokens, rounds, layers }: { tokens: number; rounds: number; layers?: number },
): Promise<BenchRow[]> {
  const scratch = mkdtempSync(join(tmpdir(), "qwench-load-"));
  try {
    const config = benchModel(layers);
    const checkpoint = join(scratch, "checkpoint");
    const spec = { ...SPECS["qwen2.5-0.5b"], num_hidden_layers: config.num_hidden_layers };
    await writeRandomCheckpoint(nodeFolder(checkpoint), spec);
    const empty = (name: string, ahead: boolean) => {
      process.env.MESA_SHADER_CACHE_DIR = join(scratch, name);
      return start(open, checkpoint, { tokens, remembered: null, ahead });
    };
    const cold = [await empty("one by one", false), await empty("ahead", true)];
    const remembered = cold[1].tuning;
    const warm: Parts[][] = [[], []];
    for (let round = 0; round < rounds; round++) {
      for (const i of [0, 1])
        warm[i].push((await start(open, checkpoint, { tokens, remembered, ahead: i === 1 })).parts);
    }
    const row = (what: string, part: (typeof PARTS)[number], starts: readonly Parts[], slower?: readonly Parts[]) => {
      const [times, others] = [starts, slower].map((parts) => parts?.map((one) => one[part]));
      return {
        ...about(cold[0].gpu),
        what: `${what}: ${part}`,
        shape: `${config.num_hidden_layers} layers, ${tokens} tokens`,
        dtype: "bf16",
        median_ms: median(times!.map(({ ms }) => ms)),
        spread: spread(times!.map(({ ms }) => ms)),
        gflops: null,
        cpu_ms: median(times!.map(({ cpu }) => cpu)),
        ratio: others ? ratioOf(times!, others) : null,
        cpu_ratio: others && ratioOf(times!, others, "cpu"),
        against: others ? "compiling at first use" : null,
      };
    };
    const [first, ahead] = cold.map(({ parts }) => [parts]);
    return [
      ...PARTS.map((part) => row("start, empty caches, compiling at first use", part, first)),
      ...PARTS.map((part) => row("start, empty caches", part, ahead, first)),
      ...PARTS.map((part) => row("start, remembered, compiling at first use", part, warm[0])),
      ...PARTS.map((part) => row("start, remembered", part, warm[1], warm[0])),
    ];
  } finally {
    delete process.env.MESA_SHADER_CACHE_DIR;
    rmSync(scratch, { recursive: true });
  }
}

async function start(
  open: () => Promise<Gpu>,
  path: string,
  { tokens, remembered, ahead }: Start,
): Promise<{ parts: Parts; tuning: string; gpu: Gpu }> {
  const gpu = await open();
  const began = now();
  const checkpoint = await openCheckpoint(nodeFolder(path));
  const config = parseModelConfig(checkpoint.config, path);
  if (remembered !== null) {
    const fault = importTuning(gpu, remembered);
    if (fault) throw new Error(fault);
  }
  await tuneMatmul(gpu, modelProducts(weightShapes(config), tokens, "bf16", RANK));
  const tune = since(began);

  const loading = now();
  const micro = microBatch(config.vocab_size, 1, tokens);
  const trained = { lora: loraOf(config, RANK) };
  const dtypeOf = weightDTypes(gpu, config, checkpoint, {});
  const planned = { config, trained, dtypeOf, steps: [[micro]], optimizer: ADAMW };
  const kernels = ahead ? kernelsOfSft({ ...planned, adapter: gpu }) : [];
  const compiled = gpu.prepare(kernels);
  const model = await loadModel(gpu, checkpoint, { trained });
  initAdapter(gpu, model, uniformFrom(1));
  await gpu.settle();
  const load = since(loading);
  const waiting = now();
  await compiled;
  const rest = since(waiting);

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
  const compile = { ms: rest.ms + first.ms - second.ms, cpu: rest.cpu + first.cpu - second.cpu };
  const parts: Parts = { tune, load, compile, "first step": second, "all of it": all };
  const exported = exportTuning(gpu);
  gpu.device.destroy();
  return { parts, tuning: exported, gpu };
}
