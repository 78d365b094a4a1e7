import { describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/device.ts";
import { allCases } from "../../src/kernels/cases.ts";
import { runCase } from "../../src/kernels/check.ts";
import { gatherRows } from "../../src/kernels/elementwise.ts";
import { ranges } from "../../src/kernels/grid.ts";
import { useGpu } from "./harness.ts";

const device = useGpu();

/** The device with a lower limit for bindings. */
function withBindingsOf(bytes: number): Gpu {
  const gpu = device();
  const limits = { maxComputeWorkgroupsPerDimension: 65_535, maxStorageBufferBindingSize: bytes };
  return Object.create(gpu, { limits: { value: limits } });
}

describe("arrays longer than a binding", () => {
  it.each([
    ["adamw", "[894] steps 1,2,3", 1024],
    ["adamw8bit", "[16640] step 1000", 65_536],
    ["gradNorm", "of [894,1,4096] to 0.5", 1024],
    ["elementwise", "[4096] add, scale, sum", 1024],
  ])("%s %s is done in parts of %i bytes", async (kernel, name, bytes) => {
    const item = allCases.find((c) => c.kernel === kernel && c.name === name);
    expect(item).toBeDefined();
    const gpu = withBindingsOf(bytes);
    const result = await runCase(gpu, item!);
    expect(result.ok, `${result.what}: ${result.worst}`).toBe(true);
  });

  it("are split at binding alignments", () => {
    const parts = ranges(withBindingsOf(1200).recorder(), 894, 64);
    expect(parts).toEqual([
      { start: 0, count: 256 },
      { start: 256, count: 256 },
      { start: 512, count: 256 },
      { start: 768, count: 126 },
    ]);
  });
});

it("rows beyond 65 535 continue along z", async () => {
  const gpu = device();
  const [rows, most] = [140_001, 150_000];
  const values = Float32Array.from({ length: most }, (_, i) => i);
  const list = Uint32Array.from({ length: rows }, (_, i) => (i * 7919) % most);
  const x = gpu.upload(values, [most, 1], "f32", "x", "scratch");
  const indices = gpu.upload(list, [rows], "u32", "indices", "scratch");
  const record = gpu.recorder();
  const read = record.read(gatherRows(record, x, indices));
  record.submit();
  const got = new Float32Array(await read, 0, rows);
  expect(got.findIndex((v, i) => v !== list[i])).toBe(-1);
  gpu.drop(x, indices);
});
