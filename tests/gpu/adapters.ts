import { type AdapterProfile, factsOf, profileOf } from "../../src/gpu/profile.ts";

/** The properties of a `GPUAdapter`. */
export interface AdapterSays {
  info: Partial<GPUAdapterInfo>;
  /** features that a profile depends on */
  features?: readonly ("subgroups" | "subgroup-size-control")[];
}

const SUBGROUPS = ["subgroups"] as const;
const CONTROLLED = ["subgroups", "subgroup-size-control"] as const;
const lanes = (subgroupMinSize: number, subgroupMaxSize = subgroupMinSize) => ({ subgroupMinSize, subgroupMaxSize });

/** Adapters as Dawn, wgpu and browsers describe them. */
export const ADAPTERS = {
  nvidia: {
    info: { vendor: "nvidia", architecture: "hopper", description: "NVIDIA H200", ...lanes(32) },
    features: CONTROLLED,
  },
  amd: {
    info: {
      vendor: "amd",
      architecture: "rdna-3",
      description: "AMD Radeon RX 7900 XTX (RADV NAVI31)",
      ...lanes(32, 64),
    },
    features: CONTROLLED,
  },
  intel: {
    info: { vendor: "intel", architecture: "xe-2lpg", description: "Intel(R) Graphics (LNL)", ...lanes(8, 32) },
    features: CONTROLLED,
  },
  "intel, subgroups of 8 only": {
    info: { vendor: "intel", architecture: "gen-9", description: "Intel(R) HD Graphics 630", ...lanes(8) },
    features: SUBGROUPS,
  },
  apple: { info: { vendor: "apple", architecture: "metal-3", ...lanes(4, 64) }, features: SUBGROUPS },
  "mali, subgroups of 16": {
    info: { vendor: "arm", architecture: "valhall", description: "Mali-G710", ...lanes(16) },
    features: CONTROLLED,
  },
  "mali, subgroups of 8": {
    info: { vendor: "arm", architecture: "bifrost", description: "Mali-G76", ...lanes(8) },
    features: SUBGROUPS,
  },
  "mali, subgroups of 4": {
    info: { vendor: "arm", architecture: "bifrost", description: "Mali-G72", ...lanes(4) },
    features: SUBGROUPS,
  },
  adreno: {
    info: { vendor: "qualcomm", architecture: "adreno-7xx", description: "Adreno (TM) 740", ...lanes(64, 128) },
    features: SUBGROUPS,
  },
  "a GPU whose browser tells nothing": { info: {} },
  "wgpu, NVIDIA": { info: { vendor: "4318", device: "9568", description: "NVIDIA GeForce RTX 4090", ...lanes(32) } },
  "llvmpipe of 256 bits": {
    info: {
      vendor: "mesa",
      architecture: "software",
      device: "llvmpipe-llvm-15-0-6-256-bits-",
      description: "llvmpipe: Mesa 25.0.7-2~bpo12+1 (LLVM 15.0.6) 0.0.1",
      isFallbackAdapter: true,
      ...lanes(8),
    },
    features: CONTROLLED,
  },
  "llvmpipe of 128 bits": {
    info: { vendor: "mesa", architecture: "software", description: "llvmpipe: Mesa 25.0.7", ...lanes(4) },
    features: CONTROLLED,
  },
  "llvmpipe of 512 bits": {
    info: { vendor: "mesa", architecture: "software", description: "llvmpipe: Mesa 25.0.7", ...lanes(16) },
    features: CONTROLLED,
  },
  "wgpu, llvmpipe": {
    info: { vendor: "65541", description: "llvmpipe (LLVM 15.0.6, 256 bits)", isFallbackAdapter: true, ...lanes(8) },
  },
  swiftshader: {
    info: {
      vendor: "google",
      architecture: "swiftshader",
      device: "swiftshader-device-subzero-",
      description: "SwiftShader driver 5.0.0",
      isFallbackAdapter: true,
      ...lanes(4),
    },
    features: CONTROLLED,
  },
  "chrome, swiftshader": { info: { vendor: "google", architecture: "swiftshader", ...lanes(4) }, features: SUBGROUPS },
  warp: {
    info: { vendor: "microsoft", architecture: "warp", description: "Microsoft Basic Render Driver", ...lanes(4) },
    features: SUBGROUPS,
  },
  "a CPU whose browser tells no name": { info: { isFallbackAdapter: true } },
} satisfies Record<string, AdapterSays>;

/** The profile that `requestGpu` chooses for an adapter of the table. */
export function profileFor(name: keyof typeof ADAPTERS): AdapterProfile {
  const { info, features = [] }: AdapterSays = ADAPTERS[name];
  const adapter = { info, features: new Set<string>(features) } as unknown as GPUAdapter;
  return profileOf(factsOf(adapter, adapter.features.has("subgroups" as GPUFeatureName)));
}
