import type { Gpu } from "../gpu/device.ts";
import type { ModelConfig } from "../model/config.ts";

/** Picks kernel variants by measurement, once an adapter. */
export async function tuned(
  _gpu: Gpu,
  _config: ModelConfig,
  _tokens: number,
  _status: (line: string | null) => void,
): Promise<void> {}
