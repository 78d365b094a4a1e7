import { expect } from "vitest";
import { Gpu } from "../../../src/gpu/device.ts";
import { view } from "../../../src/gpu/tensor.ts";
import { matmul } from "../../../src/kernels/matmul/matmul.ts";
import { profileFor } from "../../gpu/adapters.ts";
import { ownGpu } from "../../gpu/open.ts";

const random = (n: number) => Float32Array.from({ length: n }, (_, i) => Math.sin(12.9898 * i) * 43758.5 - 3);

/** Bits of the first row of x·Wᵀ, for x with this many rows. */
export async function firstRow(gpu: Gpu, m: number, tile?: Parameters<typeof matmul>[3]): Promise<Uint32Array> {
  const x = gpu.upload(random(64 * 136), [64, 136], "f32", "x", "scratch");
  const w = gpu.upload(random(70 * 136).slice(0, (70 * 136) / 2), [70, 136], "bf16", "w", "scratch");
  gpu.write(
    w,
    new Uint16Array(70 * 136).map((_, i) => 0x3e00 + ((i * 7919) % 0x180)),
  );
  const record = gpu.recorder();
  const read = record.scope(() => record.read(matmul(record, view(x, [m, 136]), w, { transB: true, ...tile })));
  record.submit();
  const bits = new Uint32Array(await read).slice(0, 70);
  gpu.drop(x, w);
  return bits;
}

/** The form that a GPU without subgroups chooses gives the first of so many rows the bits that it has alone. */
export async function checkOwnChoice(rows: readonly number[]): Promise<void> {
  const { device, features } = await ownGpu({ disable: ["subgroups"] });
  const gpu = new Gpu(device, { features, profile: profileFor("a GPU whose browser tells nothing") });
  try {
    const alone = await firstRow(gpu, 1);
    for (const m of rows) expect(await firstRow(gpu, m), `${m} rows`).toEqual(alone);
    const used = gpu.programs.kernels.map(({ shader }) => shader.name);
    expect(new Set(used)).toEqual(new Set(["matmulRows"]));
  } finally {
    gpu.destroy();
  }
}
