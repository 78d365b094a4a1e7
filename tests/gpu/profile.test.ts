import { describe, expect, it } from "vitest";
import { softwareRenderer } from "../../src/gpu/cpu-adapters/names.ts";
import { fakeGpu } from "../../src/gpu/fake-device.ts";
import type { AdapterProfile } from "../../src/gpu/profile.ts";
import { type ADAPTERS, profileFor } from "./adapters.ts";

type Adapter = keyof typeof ADAPTERS;

const GPU = {
  kind: "gpu",
  tiles: "staged",
  fewRows: "lanes",
  attention: "tiled",
  operands: "buffers",
  panelBytes: 0,
} as const;
const CPU = { kind: "cpu", fewRows: "tiles", splitKeys: 256, logitsBytes: 40 << 20 } as const;
/** A CPU whose lanes share loads. */
const SHARED = { ...CPU, tiles: "broadcast", attention: "lanes" } as const;
/** A CPU whose threads load for themselves. */
const ALONE = { ...CPU, tiles: "direct", attention: "direct", operands: "buffers", panelBytes: 0 } as const;

/** Lanes: minimum, maximum, fixed size, size required by subgroup matrices. */
type Lanes = readonly [number, number, number | null, number | null];

const TABLE: Record<Adapter, Partial<AdapterProfile> & { lanes: Lanes | null }> = {
  nvidia: { ...GPU, vendor: "nvidia", architecture: "hopper", lanes: [32, 32, 32, 32] },
  amd: { ...GPU, vendor: "amd", lanes: [32, 64, 32, 32] },
  intel: { ...GPU, vendor: "intel", lanes: [8, 32, 16, 16] },
  "intel, subgroups of 8 only": { ...GPU, vendor: "intel", lanes: [8, 8, 8, 8] },
  apple: { ...GPU, vendor: "apple", lanes: [4, 64, null, 32] },
  "mali, subgroups of 16": { ...GPU, vendor: "arm", lanes: [16, 16, 16, 16] },
  "mali, subgroups of 8": { ...GPU, vendor: "arm", lanes: [8, 8, 8, 8] },
  "mali, subgroups of 4": { ...GPU, vendor: "arm", lanes: [4, 4, 4, 4] },
  adreno: { ...GPU, vendor: "qualcomm", lanes: [64, 128, null, null] },
  "a GPU whose browser tells nothing": { ...GPU, vendor: "other", name: "unnamed adapter", lanes: null },
  "wgpu, NVIDIA": { ...GPU, vendor: "nvidia", lanes: null },
  "llvmpipe of 256 bits": {
    ...SHARED,
    operands: "textures",
    panelBytes: 4 << 20,
    tinyTiles: "small",
    translates: "dispatch",
    lanes: [8, 8, 8, 8],
  },
  "llvmpipe of 128 bits": {
    ...SHARED,
    operands: "textures",
    panelBytes: 4 << 20,
    tinyTiles: "small",
    translates: "dispatch",
    lanes: [4, 4, 4, 4],
  },
  "llvmpipe of 512 bits": { ...ALONE, translates: "dispatch", lanes: [16, 16, 16, 16] },
  "wgpu, llvmpipe": { ...ALONE, name: "65541 llvmpipe (LLVM 15.0.6, 256 bits)", lanes: null },
  swiftshader: { ...SHARED, operands: "buffers", tinyTiles: "wide", translates: "pipeline", lanes: [4, 4, 4, 4] },
  "chrome, swiftshader": { ...SHARED, name: "google swiftshader", operands: "buffers", lanes: [4, 4, 4, 4] },
  warp: { ...SHARED, operands: "buffers", translates: "pipeline", lanes: [4, 4, 4, 4] },
  "a CPU whose browser tells no name": { ...ALONE, translates: "pipeline", lanes: null },
};

describe("an adapter's profile", () => {
  it.each(Object.keys(TABLE) as Adapter[])("%s", (adapter) => {
    const { lanes, ...want } = TABLE[adapter];
    const profile = profileFor(adapter);
    expect(profile).toMatchObject(want);
    const { subgroup } = profile;
    expect(subgroup && [subgroup.min, subgroup.max, subgroup.size, subgroup.matrixSize]).toEqual(lanes);
  });

  it("tells whether a kernel must ask for the size of subgroup that it counts on", () => {
    expect(profileFor("amd").subgroup?.asks).toBe(true);
    expect(profileFor("nvidia").subgroup?.asks).toBe(false);
    expect(profileFor("adreno").subgroup?.asks).toBe(false);
  });

  it("belongs to a device: a fake device has its adapter's, or a generic GPU's", () => {
    const limits = { maxBufferSize: 2 ** 30, maxStorageBufferBindingSize: 2 ** 27 };
    const profile = profileFor("swiftshader");
    const fake = fakeGpu({ limits, profile });
    expect(fake.profile).toEqual(profile);
    expect(fake.adapterName).toBe("google swiftshader SwiftShader driver 5.0.0");
    expect(fakeGpu(fake).profile).toEqual(profile);
    expect(fakeGpu().profile).toMatchObject(GPU);
  });
});

it.each([
  ["mesa software llvmpipe: Mesa 25.0.7", "llvmpipe"],
  ["lavapipe", "llvmpipe"],
  ["google swiftshader", "swiftshader"],
  ["Microsoft Basic Render Driver", "warp"],
  ["microsoft warp", "warp"],
  ["NVIDIA GeForce RTX 4090", null],
  ["a card that warps", null],
  ["", null],
])("%s is %s", (name, renderer) => expect(softwareRenderer(name)).toBe(renderer));
