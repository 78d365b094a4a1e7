import { afterEach, describe, expect, it, vi } from "vitest";
import { type Gpu, requestGpu } from "../../src/gpu/device.ts";
import { openNodeAdapter } from "../../src/platform/node/node.ts";
import { TIMED_RUNS, timeRun } from "./timed-runs.ts";

// Forecasts of a step beside the steps themselves, on both software adapters. The clock counts processor time, because other
// programs of the machine hardly change it, and these adapters compute on the processor.

afterEach(() => vi.restoreAllMocks());

/** Replaces the clock of measurement and run: milliseconds of this process's threads together. */
function countProcessorTime(): void {
  vi.spyOn(performance, "now").mockImplementation(() => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  });
}

const opened = new Map<string, Promise<Gpu>>();
async function open(name: "mesa" | "swiftshader"): Promise<Gpu> {
  const { adapter, waiting, spares, f16 } = await openNodeAdapter({ adapter: name });
  return requestGpu(adapter, { waiting, spares, disable: f16 ? [] : ["f16"] });
}

// Mesa first: SwiftShader takes its place as this process's driver
describe.skipIf(process.platform !== "linux").each(["mesa", "swiftshader"] as const)("on %s", (name) => {
  it.each(TIMED_RUNS)("a step of $name takes what was forecast, within 40 %", async (run) => {
    if (!opened.has(name)) opened.set(name, open(name));
    const gpu = await opened.get(name)!;
    countProcessorTime();
    const { before, taken, after } = await timeRun(gpu, run);
    const forecast = Math.sqrt(before * after);
    const said = `${name}, ${run.name}: forecast ${forecast.toFixed(3)} s, taken ${taken.toFixed(3)} s of processor time`;
    console.log(said);
    expect(Math.abs(forecast - taken) / taken, said).toBeLessThan(0.4);
  });
});
