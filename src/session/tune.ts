import type { Gpu } from "../gpu/device.ts";
import { exportTuning, importTuning, modelProducts, tuneMatmul } from "../kernels/matmul/matmul-tune.ts";
import { weightShapes } from "../model/architectures/tensors.ts";
import type { PreparedBase } from "./open.ts";

/** Where measurements are kept, one text per adapter: a disk, a browser's database. */
export interface TuningStore {
  /** @param adapter its name @returns what was written for it, or null */
  read(adapter: string): Promise<string | null>;
  write(adapter: string, text: string): Promise<void>;
}

/** Below this many parameters a run ends before measuring has paid for itself. */
const WORTH_TUNING = 20_000_000;

/** Takes over what earlier runs measured on this adapter. */
export async function recallTuning(gpu: Gpu, store: TuningStore): Promise<void> {
  const known = await store.read(gpu.adapterName);
  if (known !== null) importTuning(gpu, known);
}

/**
 * Picks kernel variants by measurement, once per adapter, and remembers them. Any tile gives the same sums in the same
 * order, so this changes no result; a store that cannot be written costs only the next run's time.
 *
 * @param onBegin told, in a few words, where something is measured
 */
export async function tune(
  gpu: Gpu,
  prepared: PreparedBase,
  store: TuningStore,
  { signal, onBegin }: { signal?: AbortSignal; onBegin?: (what: string) => void } = {},
): Promise<void> {
  await recallTuning(gpu, store);
  if (prepared.forecast.parameters < WORTH_TUNING) return;
  const { config, forecast, weightDType, headDType, lora } = prepared;
  const products = modelProducts(weightShapes(config), forecast.tokens, weightDType, lora?.r ?? null, headDType);
  const before = gpu.tuning.size;
  onBegin?.("Measuring kernel variants on this adapter, once");
  await tuneMatmul(gpu, products, { signal });
  if (gpu.tuning.size > before) await store.write(gpu.adapterName, exportTuning(gpu)).catch(() => {});
}
