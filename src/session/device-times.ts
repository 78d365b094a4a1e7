import type { Gpu } from "../gpu/device.ts";
import type { ModelConfig } from "../model/config.ts";
import type { DeviceRates } from "../train/forecast/rates.ts";
import { knowsWidth, measureRates, widthOf } from "./measure.ts";
import type { EarlierRun } from "./time-forecast.ts";
import type { TuningStore } from "./tune.ts";

/** What is known about an adapter's speed. */
export interface DeviceTimes {
  rates: DeviceRates;
  /** the oldest first */
  runs: readonly EarlierRun[];
}

/** Changes with what is measured or stored: measurements of another version are taken again. */
const VERSION = 2;
/** Earlier runs that are kept for an adapter. */
const KEPT = 64;

/**
 * What earlier measurements and runs tell about this adapter.
 *
 * @param store one text per adapter, apart from that of kernel variants
 */
export async function recallTimes({ adapterName }: Pick<Gpu, "adapterName">, store: TuningStore): Promise<DeviceTimes> {
  const nothing = { rates: [], runs: [] };
  const text = await store.read(adapterName).catch(() => null);
  if (text === null) return nothing;
  try {
    const { version, rates, runs } = JSON.parse(text);
    return version === VERSION && Array.isArray(rates) && Array.isArray(runs) ? { rates, runs } : nothing;
  } catch {
    return nothing; // measured again
  }
}

/**
 * Measures this adapter for a model of this width, unless that was done before, and stores the result. Takes about 3 seconds,
 * and on a software adapter the time to compile kernels, which a run of the embedded model then finds compiled.
 *
 * @returns what was known before, if compiling took longer than `compileWithin`
 * @throws {AbortError} the signal was aborted
 */
export async function measureTimes(
  gpu: Gpu,
  store: TuningStore,
  config: Pick<ModelConfig, "hidden_size">,
  options: Parameters<typeof measureRates>[2] = {},
): Promise<DeviceTimes> {
  const known = await recallTimes(gpu, store);
  if (knowsWidth(known.rates, config)) return known;
  const made = await measureRates(gpu, widthOf(gpu, config), options);
  if (!made) return known;
  const times = { ...known, rates: [...known.rates, made] };
  await write(gpu, store, times);
  return times;
}

/** Stores what a run's steps took, which corrects later forecasts. */
export async function noteRun(gpu: Pick<Gpu, "adapterName">, store: TuningStore, run: EarlierRun): Promise<void> {
  const known = await recallTimes(gpu, store);
  await write(gpu, store, { ...known, runs: [...known.runs, run].slice(-KEPT) });
}

/** If the store cannot be written, the next forecast measures again. */
async function write({ adapterName }: Pick<Gpu, "adapterName">, store: TuningStore, times: DeviceTimes): Promise<void> {
  await store.write(adapterName, JSON.stringify({ version: VERSION, ...times })).catch(() => {});
}

/**
 * The median of a run's steps in seconds, without the first, which compiles. Null before there are three.
 *
 * @param period steps that share one generation: their mean counts as one
 */
export function medianStep(times: readonly number[], period = 1): number | null {
  const later = times.slice(1);
  const groups = Array.from({ length: Math.floor(later.length / period) }, (_, i) => {
    const own = later.slice(i * period, (i + 1) * period);
    return own.reduce((sum, time) => sum + time, 0) / period;
  }).sort((a, b) => a - b);
  return later.length < 2 || groups.length === 0 ? null : groups[groups.length >> 1];
}
