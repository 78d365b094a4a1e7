import type { Gpu } from "../gpu/device.ts";
import { exportTuning, importTuning, modelProducts, tuneMatmul } from "../kernels/matmul/matmul-tune.ts";
import { weightShapes } from "../model/architectures/tensors.ts";
import type { PreparedBase } from "./open.ts";

/** A store of measurements, one text per adapter: a disk or a browser's database. */
export interface TuningStore {
  /** @param adapter its name @returns the text stored for it, or null */
  read(adapter: string): Promise<string | null>;
  write(adapter: string, text: string): Promise<void>;
}

/** With fewer parameters, a run ends before the measurements pay off. */
const WORTH_TUNING = 20_000_000;

/** Loads the measurements of earlier runs on this adapter. */
export async function recallTuning(gpu: Gpu, store: TuningStore): Promise<void> {
  const known = await store.read(gpu.adapterName);
  if (known !== null) importTuning(gpu, known);
}

/**
 * Measures kernel variants once per adapter, picks the fastest and stores the choice. Every tile size adds in the same order,
 * so the choice changes no result. If the store cannot be written, the next run measures again.
 *
 * @param onBegin receives a short message when measuring begins
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
