import { createStore, get, set } from "idb-keyval";
import type { RunEvent } from "../../src/client/types.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import { exportTuning, importTuning, modelProducts, tuneMatmul } from "../../src/kernels/matmul/matmul-tune.ts";
import type { PreparedPhase } from "./phase.ts";
import { reporting } from "./reporting.ts";

/** Below this many parameters a run ends before measuring has paid for itself. */
const WORTH_TUNING = 20_000_000;

/** Picks kernel variants by measurement, once an adapter, and remembers them. Changes no result. */
export async function* tune(gpu: Gpu, { prepared }: PreparedPhase, signal: AbortSignal): AsyncGenerator<RunEvent> {
  const store = createStore("qwench-tuning", "adapters");
  const known = await get<string>(gpu.adapterName, store);
  if (known) importTuning(gpu, known);
  const { config, forecast, weightDType, headDType, lora } = prepared;
  if (forecast.parameters < WORTH_TUNING) return;
  const products = modelProducts(config, forecast.tokens, weightDType, lora?.r ?? null, headDType);
  const before = gpu.tuning.size;
  yield* reporting(async (report: (event: RunEvent) => void) => {
    report({ type: "note", text: "Measuring kernel variants on this adapter, once" });
    await tuneMatmul(gpu, products, { signal });
  });
  if (gpu.tuning.size > before) await set(gpu.adapterName, exportTuning(gpu), store);
}
