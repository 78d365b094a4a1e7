import { describe, expect, it } from "vitest";
import { GpuError } from "../../src/errors.ts";
import { view } from "../../src/gpu/tensor.ts";
import { ownGpu } from "./open.ts";

const broken = (_: { elem: string }) => `
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1)
fn main() {
  y[0] = nothing;
}`;

const fine = () => `
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1)
fn main() { y[0] = 1.0; }`;

const slow = () => `
struct Params { turns: u32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<uniform> params: Params;
@compute @workgroup_size(1)
fn main() { for (var i = 0u; i < params.turns; i++) { y[0] += 1.0; } }`;

const faultOf = (work: Promise<unknown>) =>
  work.then(
    () => null,
    (error: unknown) => error,
  );

describe("errors of the device", () => {
  it("a shader that does not compile is reported with kernel, variant and line; all later work fails with this error", async () => {
    const gpu = await ownGpu();
    const record = gpu.recorder();
    const y = record.zeros([1], "f32", "y");
    record.dispatch(broken, { elem: "f32" }, { y }, {}, 1);
    const got = record.read(y);
    record.submit();
    const fault = await faultOf(gpu.settle());
    expect(fault).toBeInstanceOf(GpuError);
    expect((fault as GpuError).message).toMatch(
      /^Cannot compile kernel broken .*"elem":"f32"[\s\S]*line 5:\d+ .*nothing/,
    );
    expect(await faultOf(got)).toBe(fault);
    expect(() => record.zeros([1], "f32", "again")).toThrow(fault as GpuError);
    gpu.destroy();
  });

  it("a bind group that is refused names its kernel and tensors", async () => {
    const gpu = await ownGpu();
    const record = gpu.recorder();
    const y = record.zeros([1024], "f32", "y");
    record.dispatch(fine, {}, { y: view(y, [3], 5, "askew") }, {}, 1);
    record.submit();
    const fault = await faultOf(gpu.settle());
    expect(fault).toBeInstanceOf(GpuError);
    expect((fault as GpuError).message).toMatch(/Cannot bind y = askew \[3\] to kernel fine: /);
    gpu.destroy();
  });

  it("a device destroyed in the middle ends reads and waits with a GpuError; nothing hangs", async () => {
    const gpu = await ownGpu({ profiler: true });
    const record = gpu.recorder();
    const y = record.zeros([1], "f32", "y");
    const reads: Promise<ArrayBuffer>[] = [];
    for (let i = 0; i < 10; i++) {
      record.dispatch(slow, {}, { y }, { turns: 100_000 + i }, 1);
      reads.push(record.read(y));
      record.submit();
    }
    gpu.device.destroy();
    const faults = await Promise.all(reads.map(faultOf));
    for (const fault of faults) if (fault !== null) expect(fault).toBeInstanceOf(GpuError);
    expect(faults.at(-1)).toBeInstanceOf(GpuError);
    expect(String(faults.at(-1))).toMatch(/destroyed|Cannot read back/);
    expect(await faultOf(gpu.settle())).toBeInstanceOf(GpuError);
    expect(() => gpu.recorder().zeros([1], "f32", "more")).toThrow(GpuError);
    await gpu.profiler?.table();
  });

  it("writing past a tensor's end is refused before the queue sees it", async () => {
    const gpu = await ownGpu();
    const y = gpu.persistent([4], "f32", "y", "weights");
    expect(() => gpu.write(y, new Float32Array(5))).toThrow(
      new GpuError("Cannot write 20 bytes at 0 of y: it has 16 bytes"),
    );
    expect(() => gpu.write(y, new Float32Array(1), 16)).toThrow(GpuError);
    gpu.destroy();
  });
});
