import { softwareRenderer } from "./cpu-adapters/names.ts";

/** What an adapter says of itself, as far as the choice of kernels depends on it. */
interface AdapterFacts {
  /** vendor, architecture and description in one line */
  name: string;
  /** as WebGPU names it, or wgpu by its PCI number; "" where a browser keeps it to itself */
  vendor: string;
  architecture: string;
  /** `isFallbackAdapter`: it computes on the CPU whatever its name says */
  fallback: boolean;
  /** sizes of a subgroup; null where kernels use none */
  subgroups: { min: number; max: number } | null;
  /** a kernel may ask for a size of subgroup (`subgroup-size-control`) */
  subgroupSizeControl: boolean;
}

/** Makers of GPUs; "other" for all that are not listed and for CPUs. */
type Vendor = "nvidia" | "amd" | "intel" | "apple" | "arm" | "qualcomm" | "other";

/** Subgroups of an adapter, in lanes. */
interface SubgroupFacts {
  readonly min: number;
  readonly max: number;
  /** lanes that every subgroup has, or that a kernel asks for; null where that varies */
  readonly size: number | null;
  /** lanes that matrix units count on; null where nobody can know them before a kernel runs */
  readonly matrixSize: number | null;
  /** a kernel that counts on `size` must ask for it, for there are others */
  readonly asks: boolean;
}

/**
 * What kernels ask about an adapter: chosen once for a device, plain data. No kernel asks for a name, nor takes the size of a
 * subgroup for a kind of adapter: Mali's have 4 to 16 lanes and some of Intel's 8, and both are GPUs.
 */
export interface AdapterProfile {
  /** for people, tuning files and errors; nothing is chosen by it */
  readonly name: string;
  readonly kind: "cpu" | "gpu";
  readonly vendor: Vendor;
  readonly architecture: string;
  /** null: kernels use none */
  readonly subgroup: SubgroupFacts | null;
  /**
   * Tiles of products: lanes of a small subgroup of fixed size share out loads ("broadcast"), every thread loads for itself
   * ("direct"), operands go through workgroup memory ("staged").
   */
  readonly tiles: "broadcast" | "direct" | "staged";
  /** x·Wᵀ of few rows: like any product by a tile ("tiles"), or a sum's steps shared out between lanes ("lanes") */
  readonly fewRows: "tiles" | "lanes";
  /** where frozen weights lie and what products read: see `TensorStorage` */
  readonly operands: "buffers" | "textures";
  /** a lane loads and broadcasts rows of queries and keys ("lanes"), or a workgroup tiles them ("tiled") */
  readonly attention: "lanes" | "tiled";
  /** keys that a workgroup of decode attention takes at most */
  readonly splitKeys: number;
  /** RMSNorm and the first half of LoRA in a decoding pass: one workgroup a row for both ("fused"), or a kernel each ("apart") */
  readonly normLora: "fused" | "apart";
  /** bytes that the logits of one chunk of rows may take */
  readonly logitsBytes: number;
  /** when the driver translates a kernel: as its pipeline is made, or only at its first dispatch, on one thread a device */
  readonly translates: "pipeline" | "dispatch";
}

/** PCI numbers, which wgpu gives in place of names. */
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

/** Chooses an adapter's profile. A CPU is one that says so, or that bears the name of a software renderer. */
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
    fewRows: "lanes",
    operands: "buffers",
    attention: "tiled",
    splitKeys: 64, // one sequence then keeps the whole GPU busy
    normLora: "fused",
    logitsBytes: 80 << 20,
    translates: "pipeline",
  };
}

/** @param llvmpipe Mesa's renderer, on which textures and translation were measured */
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
    fewRows: "tiles",
    operands: llvmpipe && subgroup?.size === 8 ? "textures" : "buffers",
    attention: shares ? "lanes" : "tiled",
    splitKeys: 256, // cores have heads enough, and a dispatch less
    normLora: "fused",
    logitsBytes: 40 << 20, // 64 rows occupy it as well as 128
    translates: llvmpipe ? "dispatch" : "pipeline",
  };
}

function subgroupOf({ subgroups, subgroupSizeControl }: AdapterFacts, vendor: Vendor): SubgroupFacts | null {
  if (!subgroups) return null;
  const { min, max } = subgroups;
  const only = min === max && min > 0 ? min : null;
  const asked = only === null && subgroupSizeControl ? askedSize(min, max, vendor) : null;
  const size = only ?? asked;
  // Metal declares a wider range than any Apple GPU has
  return { min, max, size, matrixSize: size ?? (vendor === "apple" ? 32 : null), asks: asked !== null };
}

/** Lanes to ask for: Intel's registers are those of 16, AMD's matrix units and all others take 32. */
function askedSize(min: number, max: number, vendor: Vendor): number | null {
  const wanted = vendor === "intel" ? [16, 32] : [32, 64, 16];
  return wanted.find((lanes) => min <= lanes && lanes <= max) ?? null;
}

/** What `requestGpu` knows of an adapter. @param subgroups whether kernels will use them */
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
