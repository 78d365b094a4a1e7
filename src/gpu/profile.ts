import { softwareRenderer } from "./cpu-adapters/names.ts";

/** The adapter's properties that affect the choice of kernels. */
interface AdapterFacts {
  /** vendor, architecture and description in one line */
  name: string;
  /** WebGPU's vendor name, or wgpu's PCI number; "" if a browser hides it */
  vendor: string;
  architecture: string;
  /** `isFallbackAdapter`: computes on the CPU, whatever its name */
  fallback: boolean;
  /** subgroup sizes; null if kernels do not use subgroups */
  subgroups: { min: number; max: number } | null;
  /** a kernel can request a subgroup size (`subgroup-size-control`) */
  subgroupSizeControl: boolean;
}

/** GPU vendors; "other" for unlisted vendors and CPUs. */
type Vendor = "nvidia" | "amd" | "intel" | "apple" | "arm" | "qualcomm" | "other";

/** Subgroups of an adapter, in lanes. */
interface SubgroupFacts {
  readonly min: number;
  readonly max: number;
  /** lanes of every subgroup, or the size that a kernel requests; null if it varies */
  readonly size: number | null;
  /** lanes that subgroup matrices require; null if unknown before a kernel runs */
  readonly matrixSize: number | null;
  /** a kernel that relies on `size` must request it, because there are other sizes */
  readonly asks: boolean;
}

/**
 * Kernel choices for an adapter: plain data, decided once per device. Kernels never test an adapter's name, and never
 * infer the kind of adapter from its subgroup size: Mali has 4 to 16 lanes and some Intel GPUs have 8.
 */
export interface AdapterProfile {
  /** for display, tuning files and errors; no choice depends on it */
  readonly name: string;
  readonly kind: "cpu" | "gpu";
  readonly vendor: Vendor;
  readonly architecture: string;
  /** null: kernels do not use subgroups */
  readonly subgroup: SubgroupFacts | null;
  /**
   * Tiles of products: lanes of a small subgroup of fixed size share loads ("broadcast"), every thread loads for itself
   * ("direct"), operands go through workgroup memory ("staged").
   */
  readonly tiles: "broadcast" | "direct" | "staged";
  /** tiles of a tiny model's products on a CPU adapter: 8 × 4 outputs ("small"), or 16 × 8 where they compile as fast ("wide") */
  readonly tinyTiles: "small" | "wide";
  /** x·Wᵀ of few rows: computed in tiles like other products ("tiles"), or each sum divided between lanes ("lanes") */
  readonly fewRows: "tiles" | "lanes";
  /** storage of frozen weights and operands: see `TensorStorage` */
  readonly operands: "buffers" | "textures";
  /**
   * Products of many rows widen a quantised matrix to f32 in panels of so many bytes, once for all rows; 0: every tile widens
   * what it reads
   */
  readonly panelBytes: number;
  /** lanes load and broadcast rows of queries and keys ("lanes"), a workgroup tiles both ("tiled"), or one side only ("direct") */
  readonly attention: "lanes" | "tiled" | "direct";
  /** most keys per workgroup of decode attention */
  readonly splitKeys: number;
  /**
   * RMSNorm and the first half of LoRA in a decoding pass: one kernel with a workgroup per row where rows are few and wide
   * ("fused"), or always two kernels ("apart")
   */
  readonly normLora: "fused" | "apart";
  /** thresholds of sampling in a large vocabulary: one workgroup searches a row ("row"), or many share its tiles ("tiles") */
  readonly sampleSearch: "row" | "tiles";
  /** byte limit for the logits of one chunk of rows */
  readonly logitsBytes: number;
  /**
   * when the driver translates a kernel: on creating its pipeline, or at its first dispatch, on one thread per device
   */
  readonly translates: "pipeline" | "dispatch";
}

/** PCI vendor numbers, which wgpu reports instead of names. */
const VENDORS: Readonly<Record<string, Vendor>> = {
  nvidia: "nvidia",
  4318: "nvidia",
  amd: "amd",
  4098: "amd",
  intel: "intel",
  32902: "intel",
  apple: "apple",
  4203: "apple",
  arm: "arm",
  5045: "arm",
  qualcomm: "qualcomm",
  20803: "qualcomm",
};

/** Chooses an adapter's profile. CPU adapters declare themselves as such or have the name of a software renderer. */
export function profileOf(facts: AdapterFacts): AdapterProfile {
  const { name, fallback, architecture } = facts;
  const renderer = softwareRenderer(name);
  if (renderer || fallback) return cpuProfile(facts, renderer === "llvmpipe");
  const vendor = VENDORS[facts.vendor.toLowerCase()] ?? "other";
  return {
    name,
    kind: "gpu",
    vendor,
    architecture,
    subgroup: subgroupOf(facts, vendor),
    tiles: "staged",
    tinyTiles: "small",
    fewRows: "lanes",
    operands: "buffers",
    panelBytes: 0,
    attention: "tiled",
    splitKeys: 64, // so that one sequence keeps the whole GPU busy
    normLora: "apart", // a fused workgroup reads all of lora_A by itself
    sampleSearch: "tiles",
    logitsBytes: 80 << 20,
    translates: "pipeline",
  };
}

/** @param llvmpipe Mesa's renderer; textures and translation were measured on it */
function cpuProfile(facts: AdapterFacts, llvmpipe: boolean): AdapterProfile {
  const subgroup = subgroupOf(facts, "other");
  const shares = subgroup?.size === 4 || subgroup?.size === 8;
  return {
    name: facts.name,
    kind: "cpu",
    vendor: "other",
    architecture: facts.architecture,
    subgroup,
    tiles: shares ? "broadcast" : "direct",
    tinyTiles: llvmpipe ? "small" : "wide",
    fewRows: "tiles",
    operands: llvmpipe && shares ? "textures" : "buffers",
    panelBytes: llvmpipe && shares ? 4 << 20 : 0, // stays in the caches until the product reads it
    attention: shares ? "lanes" : "direct",
    splitKeys: 256, // heads alone keep all cores busy, and this saves a dispatch
    normLora: "fused",
    sampleSearch: "row", // a dispatch costs more than a round
    logitsBytes: 40 << 20, // 64 rows keep it as busy as 128
    translates: llvmpipe ? "dispatch" : "pipeline",
  };
}

function subgroupOf({ subgroups, subgroupSizeControl }: AdapterFacts, vendor: Vendor): SubgroupFacts | null {
  if (!subgroups) return null;
  const { min, max } = subgroups;
  const only = min === max && min > 0 ? min : null;
  const asked = only === null && subgroupSizeControl ? askedSize(min, max, vendor) : null;
  const size = only ?? asked;
  // Metal reports a wider range than any Apple GPU has
  return { min, max, size, matrixSize: size ?? (vendor === "apple" ? 32 : null), asks: asked !== null };
}

/** Subgroup size to request: 16 suits Intel's registers; AMD's matrix units and all other GPUs use 32. */
function askedSize(min: number, max: number, vendor: Vendor): number | null {
  const wanted = vendor === "intel" ? [16, 32] : [32, 64, 16];
  return wanted.find((lanes) => min <= lanes && lanes <= max) ?? null;
}

/** An adapter's facts for `requestGpu`. @param subgroups whether kernels will use subgroups */
export function factsOf({ info, features }: Pick<GPUAdapter, "info" | "features">, subgroups: boolean): AdapterFacts {
  const { vendor = "", architecture = "", description, device, subgroupMinSize = 0, subgroupMaxSize = 0 } = info;
  return {
    name: [vendor, architecture, description || device].filter(Boolean).join(" ") || "unnamed adapter",
    vendor,
    architecture,
    fallback: info.isFallbackAdapter === true,
    subgroups: subgroups ? { min: subgroupMinSize, max: subgroupMaxSize } : null,
    subgroupSizeControl: subgroups && features.has("subgroup-size-control" as GPUFeatureName),
  };
}
