import { createHash } from "node:crypto";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Gpu } from "../../gpu/device.ts";
import { exportTuning, importTuning, modelProducts, tuneMatmul } from "../../kernels/matmul/matmul-tune.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import type { PreparedBase } from "../../session/open.ts";

/** Below this many parameters a run ends before measuring has paid for itself. */
const WORTH_TUNING = 20_000_000;

/** Where measurements are kept. */
function tuningFolder(env: NodeJS.ProcessEnv = process.env): string {
  return join(env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "qwench", "tuning");
}

/** A file an adapter. */
function fileOf(gpu: Gpu): string {
  return `${createHash("sha256").update(gpu.adapterName).digest("hex").slice(0, 16)}.json`;
}

/** Takes over what earlier runs measured on this adapter. */
export async function recallTuning(gpu: Gpu): Promise<void> {
  const folder = nodeFolder(tuningFolder());
  if (await folder.exists(fileOf(gpu))) importTuning(gpu, await folder.readText(fileOf(gpu)));
}

/**
 * Picks kernel variants by measurement, once an adapter, and remembers them. Any tile gives the same sums in the same
 * order, so this changes no result; a cache that cannot be written costs only the next run's time.
 */
export async function tuned(
  gpu: Gpu,
  prepared: PreparedBase,
  signal: AbortSignal,
  status: (line: string | null) => void,
): Promise<void> {
  await recallTuning(gpu);
  if (prepared.forecast.parameters < WORTH_TUNING) return;
  const { config, forecast, weightDType, headDType, lora } = prepared;
  const products = modelProducts(config, forecast.tokens, weightDType, lora?.r ?? null, headDType);
  const before = gpu.tuning.size;
  status("Measuring kernel variants on this adapter, once");
  await tuneMatmul(gpu, products, { signal });
  status(null);
  if (gpu.tuning.size > before)
    await nodeFolder(tuningFolder())
      .write(fileOf(gpu), exportTuning(gpu))
      .catch(() => {});
}
