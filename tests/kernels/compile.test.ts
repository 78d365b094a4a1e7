import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it, vi } from "vitest";
import { GpuError } from "../../src/errors.ts";
import type { Gpu } from "../../src/gpu/device.ts";
import type { AdapterProfile } from "../../src/gpu/profile.ts";
import type { Program, Shader } from "../../src/gpu/program.ts";
import { allCases } from "../../src/kernels/cases.ts";
import { CaseRun, type KernelCase } from "../../src/kernels/check.ts";
import { tileCandidates, tileKey } from "../../src/kernels/matmul/matmul-tile.ts";
import { profileFor } from "../gpu/adapters.ts";
import { nullDevice, nullGpu } from "../gpu/open.ts";

// Dawn's null backend validates and compiles without a GPU. The device has WebGPU's default limits, so that kernels
// that pass here need only what every adapter has: 8 storage buffers, 256 threads, 16 KiB of workgroup memory.

// Nothing is computed or compared, so the most expensive references are left out.
vi.mock("../../src/kernels/matmul/matmul.ts", async (original) => ({
  ...(await original<object>()),
  matmulReference: (_a: unknown, _b: unknown, [m, n]: number[]) => new Float64Array(m * n),
}));
vi.mock("../../src/kernels/sample/sample.ts", async (original) => ({
  ...(await original<object>()),
  sampleReference: ({ length }: ArrayLike<number>) => ({
    probabilities: new Float64Array(length).fill(1, 0, 1),
    logps: new Float64Array(length),
    token: 0,
  }),
}));
vi.mock("../../src/kernels/attention/attention.ts", async (original) => ({
  ...(await original<object>()),
  attentionReference: (q: Float64Array, k: Float64Array) => {
    const [ofQ, ofK] = [new Float64Array(q.length), new Float64Array(k.length)];
    return { o: ofQ, dq: ofQ, dk: ofK, dv: ofK };
  },
}));
vi.mock("../../src/kernels/delta/rule.ts", async (original) => ({
  ...(await original<object>()),
  deltaRuleReference: ({ q, v, g }: Record<"q" | "v" | "g", Float64Array>) => ({
    o: new Float64Array(v.length),
    state: new Float64Array((q.length / g.length) * (v.length / g.length)),
  }),
  deltaRuleBackwardReference: (input: Record<string, Float64Array>) =>
    Object.fromEntries(Object.entries(input).map(([name, { length }]) => [name, new Float64Array(length)])),
}));

const llvmpipe = profileFor("llvmpipe of 256 bits");
/** `slow`: its kernels differ little from those of the others, or the suite runs on it; compiled by `npm run check:slow` */
const ALL: { name: string; profile: AdapterProfile; slow?: true }[] = [
  { name: "without subgroups", profile: profileFor("a GPU whose browser tells nothing") },
  { name: "without subgroups, a CPU", profile: profileFor("wgpu, llvmpipe"), slow: true },
  { name: "with subgroups of many sizes", profile: profileFor("amd") },
  { name: "with subgroups of 32", profile: profileFor("nvidia"), slow: true },
  { name: "with subgroups of 8, a GPU", profile: profileFor("mali, subgroups of 8"), slow: true },
  { name: "with subgroups of 4, a CPU", profile: profileFor("swiftshader"), slow: true },
  { name: "with subgroups of 8, a CPU", profile: { ...llvmpipe, operands: "buffers" }, slow: true },
  { name: "with subgroups of 8 and textures, a CPU", profile: llvmpipe },
];
const PROFILES = ALL.filter(({ slow }) => !slow || process.env.MODE === "slow");

/** Devices by their features, and their compiled programs: profiles share most kernels. */
const devices = new Map<string, { device: GPUDevice; programs: Map<string, Program> }>();
afterAll(() => {
  for (const { device } of devices.values()) device.destroy();
});

/** Shaders with at least one compiled variant, on any adapter. */
const compiled = new Set<unknown>();

/** @param asked keys of the kernels that this profile asks for, including those that another profile compiled */
async function sharedGpu({ profile }: (typeof PROFILES)[number], asked = new Set<string>()): Promise<Gpu> {
  const features = `${profile.subgroup !== null} ${profile.subgroup?.asks ?? false} ${profile.kind}`;
  if (!devices.has(features)) devices.set(features, { device: await nullDevice(profile), programs: new Map() });
  const { device, programs } = devices.get(features)!;
  const gpu = await nullGpu(profile, device);
  const get = gpu.programs.get.bind(gpu.programs);
  gpu.programs.get = (shader: Shader, variant: object) => {
    compiled.add(shader);
    const key = `${shader.name} ${JSON.stringify(variant)}`;
    asked.add(key);
    if (!programs.has(key)) programs.set(key, { ...get(shader, variant), id: programs.size }); // ids are unique within a device
    return programs.get(key)!;
  };
  return gpu;
}

/** Records a case on a device that computes nothing, and waits for the compiler's messages. */
async function compile(gpu: Gpu, item: KernelCase): Promise<void> {
  const check = new CaseRun(gpu, gpu.recorder(), 1);
  item.run(check);
  check.record.submit();
  await gpu.settle();
}

describe.each(PROFILES)("on an adapter $name", (adapter) => {
  it("every case of every kernel compiles", async () => {
    const asked = new Set<string>();
    const gpu = await sharedGpu(adapter, asked);
    for (const item of allCases) await compile(gpu, item);
    expect(asked.size).toBeGreaterThan(50);
  });

  it("matmul compiles with every candidate tile", async () => {
    const asked = new Set<string>();
    const gpu = await sharedGpu(adapter, asked);
    const forms = [false, true].flatMap((transA) => [false, true].map((transB) => [transA, transB] as const));
    const products = allCases.filter(({ kernel }) => kernel === "matmul");
    expect(products.length).toBeGreaterThan(0);
    const most = Math.max(...forms.map(([transA, transB]) => tileCandidates(gpu, transA, transB).length));
    for (let n = 1; n < most; n++) {
      for (const [transA, transB] of forms) {
        const tiles = tileCandidates(gpu, transA, transB);
        for (const stored of ["f32", "f16", "bf16"] as const) {
          for (const m of [1, 1000]) {
            gpu.tuning.set(tileKey(transA, transB, stored, m), JSON.stringify(tiles[n % tiles.length]));
          }
        }
      }
      for (const item of products) await compile(gpu, item);
    }
    expect(asked.size).toBeGreaterThan(20);
  });
});

const modulesOf = async (folder: string, ending: string) => {
  const path = fileURLToPath(new URL(`../../${folder}`, import.meta.url));
  const names = readdirSync(path, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(ending));
  return Promise.all(
    names.map(async (name) => [name, await import(`${path}/${name}`)] as [string, Record<string, unknown>]),
  );
};

it("every shader is compiled", async () => {
  const modules = await modulesOf("shaders", ".wgsl.ts");
  expect(modules.length).toBeGreaterThan(8);
  const missed = modules.flatMap(([file, module]) =>
    Object.entries(module)
      .filter(([, value]) => typeof value === "function" && !compiled.has(value))
      .map(([name]) => `${file}: ${name}`),
  );
  expect(missed).toEqual([]);
});

it("the self-test includes every kernel's cases, with unique names", async () => {
  const modules = await modulesOf("src/kernels", ".cases.ts");
  expect(modules.length).toBeGreaterThan(8);
  const all = new Set(allCases);
  const missed = modules.filter(([, module]) => {
    const lists = Object.values(module).filter(Array.isArray) as KernelCase[][];
    return lists.length === 0 || lists.flat().some((item) => !all.has(item));
  });
  expect(missed.map(([file]) => file)).toEqual([]);
  expect(new Set(allCases.map(({ kernel, name }) => `${kernel} ${name}`)).size).toBe(allCases.length);
});

it("no kernel has a parameter by the name of the one that decoding changes between passes, but the one it is for", () => {
  const root = fileURLToPath(new URL("../../shaders", import.meta.url));
  const files = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
  const named = files.filter((name) => /\bstep: [uif]32/.test(readFileSync(`${root}/${name}`, "utf8")));
  expect(named).toEqual(["attention/decode-state.wgsl.ts"]);
});

it("a shader that does not compile is named with the compiler's line", async () => {
  const gpu = await sharedGpu(PROFILES[0]);
  const broken = () => `@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(1) fn main() { x[0] = missing; }`;
  const record = gpu.recorder();
  record.dispatch(broken, {}, { x: record.empty([1], "f32", "x") }, {}, 1);
  record.submit();
  await expect(gpu.settle()).rejects.toThrow(GpuError);
  await expect(gpu.settle()).rejects.toThrow(/broken[\s\S]*line 2.*missing/);
});
