import { expect, it, vi } from "vitest";
import { main } from "../../src/cli/main.ts";
import { fitsText, openToForecast } from "../../src/cli/runs/open-gpu.ts";
import { GpuError, NotFoundError } from "../../src/errors.ts";

it("forecasts with WebGPU's default limits without an adapter, and downloads nothing", async () => {
  const asked: unknown[] = [];
  const { gpu, platform, describe } = await openToForecast(async (options) => {
    asked.push(options);
    throw new GpuError("no driver");
  });
  expect(asked).toEqual([{ fetch: false }]);
  expect(platform).toBeNull();
  expect(describe).toBe("none here; this forecast assumes WebGPU's default limits");
  expect(gpu.limits.maxStorageBufferBindingSize).toBe(128 << 20);
  expect(fitsText(null)).toContain("WebGPU does not report");
});

it("does not mistake other errors for a missing adapter", async () => {
  const broken = openToForecast(async () => {
    throw new NotFoundError("no package.json");
  });
  await expect(broken).rejects.toThrow(NotFoundError);
});

it("prints its version", async () => {
  let out = "";
  const spy = vi.spyOn(process.stdout, "write").mockImplementation((text) => (out += text).length > 0);
  try {
    expect(await main(["--version"])).toBe(0);
  } finally {
    spy.mockRestore();
  }
  expect(out).toMatch(/^\d+\.\d+\.\d+\n$/);
});
