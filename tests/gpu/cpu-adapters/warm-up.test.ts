import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { GpuError } from "../../../src/errors.ts";
import type { Gpu } from "../../../src/gpu/device.ts";
import { fakeGpu } from "../../../src/gpu/fake-device.ts";
import type { Kernel } from "../../../src/gpu/program.ts";
import { ownGpu } from "../open.ts";

const fill = ({ value }: { value: number }) => `
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1)
fn main() { y[0] = ${value}.0; }`;

const broken = () => `
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1)
fn main() { y[0] = nothing; }`;

const scaled = () => `
struct Params { by: f32 }
@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<uniform> params: Params;
@compute @workgroup_size(1)
fn main() { y[0] = params.by * x[0]; }`;

const texels = () => `
@group(0) @binding(0) var x: texture_storage_2d<rgba32uint, read>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4u>;
@compute @workgroup_size(1)
fn main() { y[0] = textureLoad(x, vec2u()); }`;

const fills = (...values: number[]): Kernel[] => values.map((value) => ({ shader: fill, variant: { value } }));

/** The value that the kernel writes over 7. */
async function run(gpu: Gpu, value: number): Promise<number> {
  const y = gpu.upload(Float32Array.of(7), [1], "f32", "y", "scratch");
  const record = gpu.recorder();
  record.dispatch(fill, { value }, { y }, {}, 1);
  record.submit();
  const [got] = await gpu.readF32(y);
  gpu.drop(y);
  return got;
}

describe("kernels compiled ahead", () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await ownGpu();
  });
  afterAll(() => gpu.destroy());

  it("are not compiled again at first use, and compute the same; other kernels still compile", async () => {
    const atUse = vi.spyOn(gpu.device, "createComputePipeline");
    await gpu.prepare(fills(1, 2, 3, 1));
    expect(gpu.programs.size).toBe(3);
    expect(await run(gpu, 2)).toBe(2);
    expect(atUse).not.toHaveBeenCalled();
    expect(await run(gpu, 4)).toBe(4);
    expect(atUse).toHaveBeenCalledOnce();
    expect(new Set(fills(1, 2, 3, 4).map(({ shader, variant }) => gpu.programs.get(shader, variant).id)).size).toBe(4);
    atUse.mockRestore();
  });

  it("need not be ready when they are used", async () => {
    const prepared = gpu.prepare(fills(5, 6));
    expect(await run(gpu, 5)).toBe(5);
    await prepared;
    expect(await run(gpu, 6)).toBe(6);
    expect(gpu.programs.kernels.filter(({ variant }) => "value" in variant && variant.value === 5)).toHaveLength(1);
  });

  it("stop on request", async () => {
    const before = gpu.programs.size;
    await gpu.prepare(fills(...Array.from({ length: 20 }, (_, i) => 100 + i)), AbortSignal.abort());
    expect(gpu.programs.size).toBe(before);
  });

  it("are listed by a fake Gpu, with the adapter's part of each variant", async () => {
    const fake = fakeGpu(gpu);
    const record = fake.recorder();
    const y = record.zeros([1], "f32", "y");
    for (const value of [8, 9, 8]) record.dispatch(fill, { value }, { y }, {}, 1);
    const { subgroups } = gpu.features;
    expect(fake.programs.kernels.map(({ variant }) => variant)).toEqual([
      { subgroups, value: 8 },
      { subgroups, value: 9 },
    ]);
    const before = gpu.programs.size;
    await gpu.prepare(fake.programs.kernels);
    expect(gpu.programs.size).toBe(before + 2);
    await run(gpu, 9);
    expect(gpu.programs.size).toBe(before + 2);
  });
});

describe("further devices", () => {
  it("share the work, and are released", async () => {
    const [gpu, other] = [await ownGpu(), await ownGpu()];
    gpu.useSpares({ count: 1, open: async () => other }, 0);
    await gpu.prepare(fills(1, 2, 3, 4, 5, 6, 7, 8));
    expect(await run(gpu, 8)).toBe(8);
    expect((await other.device.lost).reason).toBe("destroyed");
    gpu.destroy();
  });

  it("run every kind of binding without an error", async () => {
    const gpu = await ownGpu();
    const scopes: (GPUError | null)[] = [];
    const pop = gpu.device.popErrorScope.bind(gpu.device);
    vi.spyOn(gpu.device, "popErrorScope").mockImplementation(async () => {
      const error = await pop();
      scopes.push(error);
      return error;
    });
    const shader = gpu.profile.operands === "textures" ? texels : scaled;
    gpu.useSpares({ count: 0, open: ownGpu }, 0);
    await gpu.prepare([
      { shader, variant: {} },
      { shader: scaled, variant: {} },
    ]);
    expect(scopes.length).toBeGreaterThan(2);
    expect(scopes.filter(Boolean)).toEqual([]);
    gpu.destroy();
  });

  it("may fail to open", async () => {
    const gpu = await ownGpu();
    const open = vi.fn(async () => Promise.reject(new Error("no more")));
    gpu.useSpares({ count: 3, open }, 0);
    await gpu.prepare(fills(1, 2, 3, 4));
    expect(open).toHaveBeenCalled();
    expect(await run(gpu, 3)).toBe(3);
    gpu.destroy();
  });
});

it("reports a kernel that fails to compile ahead like one that fails at first use", async () => {
  for (const spares of [false, true]) {
    const gpu = await ownGpu();
    if (spares) gpu.useSpares({ count: 0, open: ownGpu }, 0);
    await gpu.prepare([{ shader: broken, variant: { elem: "f32" } }, ...fills(1)]);
    const fault = await gpu.settle().then(
      () => null,
      (error: unknown) => error,
    );
    expect(fault).toBeInstanceOf(GpuError);
    expect((fault as GpuError).message).toMatch(
      /^Cannot compile kernel broken .*"elem":"f32"[\s\S]*line 4:\d+ .*nothing/,
    );
    gpu.destroy();
  }
});
