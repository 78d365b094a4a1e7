import { existsSync } from "node:fs";
import type { Gpu } from "../../gpu/device.ts";
import { lookAtModel } from "../../io/hub/remote.ts";
import type { Folder } from "../../io/storage.ts";
import type { Platform } from "../../platform/index.ts";
import { freeBytes } from "../../platform/node/fs.ts";
import type { CallHost } from "../../session/call/host.ts";
import { type DeviceTimes, measureTimes, recallTimes } from "../../session/device-times.ts";
import { knowsWidth } from "../../session/measure.ts";
import { forecastTime, type TimeInput } from "../../session/time-forecast.ts";
import { formatFileSize } from "../../text/bytes.ts";
import { formatNumber } from "../../text/numbers.ts";
import { formatSeconds } from "../../text/times.ts";
import { fromHub, hubName, hubOptions } from "../sources/hub.ts";
import { nodeHost } from "../sources/node-host.ts";
import { HUB_ID } from "../sources/sources.ts";
import type { diskForecast } from "./disk.ts";
import { timesStore } from "./tuning.ts";

/** Opens sources as a run would, but leaves a hub model's weights on the hub and counts their bytes. */
export function lookingHost(): { host: CallHost; missing(): number } {
  let missing = 0;
  const model: CallHost["model"] = async (name, revision, following): Promise<Folder> => {
    if (existsSync(name) || !HUB_ID.test(name)) return nodeHost.model(name, revision, following);
    const hub = hubOptions(following.signal, ({ file, totalReceived, totalSize }) =>
      following.report(file, totalReceived, totalSize, "bytes"),
    );
    if (hub.offline) return nodeHost.model(name, revision, following);
    const seen = await fromHub(hub, (options) => lookAtModel(hubName(name), { ...options, revision }));
    missing += seen.missing;
    return seen.folder;
  };
  const host = Object.create(nodeHost, { model: { value: model } }) as CallHost;
  return { host, missing: () => missing };
}

/** `download: 988 MB of weights`. @param rows what is said about rows of the hub, or null */
export function downloadLine(weights: number): string {
  return weights > 0 ? `download: ${formatFileSize(weights)} of weights` : "download: no weights";
}

/** `disk: 3 checkpoints of 17.6 MB and the result, 61.7 MB together, in out; 12.3 GB are free`. */
export async function diskLine(
  { checkpoint, checkpoints, total }: ReturnType<typeof diskForecast>,
  output: string,
): Promise<string> {
  const what =
    checkpoints === 0
      ? `the result, ${formatFileSize(total)}`
      : `${checkpoints} ${checkpoints === 1 ? "checkpoint" : "checkpoints"} of ${formatFileSize(checkpoint)} and the result, ${formatFileSize(total)} together`;
  const free = await freeBytes(output).catch(() => null);
  return `disk: ${what}, in ${output}${free === null ? "" : `; ${formatFileSize(free)} are free`}`;
}

interface TimeAsked {
  gpu: Gpu;
  config: TimeInput["config"];
  /** read if the adapter's speed is known */
  input: () => TimeInput | Promise<TimeInput>;
  /** the base model's name */
  model: string;
  /** milliseconds for compiling kernels to measure an adapter that never was; 0: none, null: as long as it takes */
  measure: number | null;
  /** whether rows are assumed to be as long as the longest */
  most?: boolean;
  signal?: AbortSignal;
  status?: (line: string | null) => void;
}

/** What `qwench plan` says where it does not measure. */
export const UNMEASURED =
  "time: unknown, as this software adapter was never measured, and its kernels take long to compile; --measure does so once";

/** Milliseconds of compiling that a measurement on a software adapter may take without being asked for. */
const SHORT_MEASUREMENT = 2000;

/** How long `qwench plan` may compile for a measurement. @param asked whether the user asked for it */
export function measureFor(platform: Pick<Platform, "software"> | null, asked: boolean): number | null {
  return asked || platform?.software === false ? null : SHORT_MEASUREMENT;
}

/** `time: about 12 min (3.1 s a step)`; null: this adapter was never measured. */
export async function timeLine(asked: TimeAsked): Promise<string | null> {
  const { gpu, config, input, model, measure, most, signal, status } = asked;
  const store = timesStore();
  let known: DeviceTimes = await recallTimes(gpu, store);
  if (!knowsWidth(known.rates, config)) {
    if (measure === 0) return null;
    status?.("Measuring this adapter for the time forecast, once");
    known = await measureTimes(gpu, store, config, { signal, ...(measure !== null && { compileWithin: measure }) });
    status?.(null);
    if (!knowsWidth(known.rates, config)) return null;
  }
  const run = await input();
  const { seconds, step, parts, basis } = forecastTime(run, known.rates, { earlier: known.runs, model });
  const each = `${formatSeconds(step)} a step`;
  const on = {
    measurement: "a measurement of this adapter",
    method: "earlier runs",
    model: "earlier runs of this model",
  }[basis];
  const about = most ? "at most about" : "about";
  if (run.max_steps <= 0) return `time: ${about} ${each}; the rows decide how many steps there are (from ${on})`;
  const detail = [
    `${formatNumber(run.max_steps)} steps, ${each}`,
    ...(parts.compile >= 1 ? [`${formatSeconds(parts.compile)} to compile`] : []),
  ];
  return `time: ${about} ${formatSeconds(seconds)} (${detail.join(", ")}; from ${on})`;
}
