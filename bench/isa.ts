import { writeFileSync } from "node:fs";
import type { Gpu } from "../src/gpu/device.ts";
import { renderTable } from "../src/text/tables.ts";
import { kernelsOfPublished, type NamedKernel } from "./isa-kernels.ts";
import { type Compiled, readCompiled } from "./isa-loops.ts";
import { ATTENTION_LOOPS, type Limit, meets, PRODUCT_LOOPS, WAVES } from "./limits.ts";
import { about } from "./rows.ts";

/** A driver's compilation of a kernel: a line of results.jsonl. */
export interface IsaRow extends Compiled {
  commit: string;
  date: string;
  adapter: string;
  /** folder of the kernel's text */
  family: string;
  kernel: string;
  variant: object;
}

/** Families by the prefix of their kernels' names. */
const FAMILIES: readonly (readonly [string, RegExp])[] = [
  ["matmul", /^(matmul|packRows|packColumns)/],
  ["attention", /^(attention|decode|kv)/],
  ["delta", /^delta/],
  ["norm", /^(rmsNorm|gatedRmsNorm)/],
  ["head", /^(head|tokenColumns)/],
  ["loss", /^(grpo|sequence)/],
  ["sample", /^(sample|markSeen|maskLogits)/],
  ["optimizer", /^(adamw|adafactor|lion|muon|sgd|grad|dequantize)/],
  ["embedding", /^embedding/],
  ["mlp", /^swiglu/],
  ["rotary", /^rotary/],
];

/** Folder of a kernel's text; `elementwise` for kernels without a folder. */
export function familyOf(kernel: string): string {
  return FAMILIES.find(([, names]) => names.test(kernel))?.[0] ?? "elementwise";
}

interface Isa {
  kernels: readonly NamedKernel[];
  rows: IsaRow[];
}

/** Names of pipelines created before those of `benchIsa`, such as probes of an adapter. */
let before: string[] = [];

/** Counts every Dawn pipeline from now on, on all devices. Call it before opening an adapter. */
export async function countPipelines(): Promise<void> {
  const { globals } = await import("webgpu");
  const device = (globals as unknown as { GPUDevice: { prototype: GPUDevice } }).GPUDevice.prototype;
  const make = device.createComputePipeline;
  device.createComputePipeline = function (this: GPUDevice, descriptor) {
    before.push(descriptor.label || "probe");
    return make.call(this, descriptor);
  };
}

/**
 * Compiles every kernel that training and decoding of published shapes need, one after another.
 *
 * @param names file for their names and variants, in the order of `createComputePipeline`
 * @param folder folder of the driver compiler's output for each pipeline, see `readCompiled`
 */
export async function benchIsa(gpu: Gpu, { names, folder }: { names?: string; folder?: string }): Promise<Isa> {
  const kernels = await kernelsOfPublished(gpu);
  const probes = before;
  before = [];
  for (const { shader, variant } of kernels) {
    gpu.programs.get(shader, variant);
    await gpu.verified();
  }
  const all = [
    ...probes.map((name) => ({ name, variant: {} })),
    ...kernels.map(({ name, variant }) => ({ name, variant })),
  ];
  if (names) writeFileSync(names, `${JSON.stringify(all)}\n`);
  if (!folder) return { kernels, rows: [] };
  const compiled = readCompiled(folder);
  if (compiled.length < all.length) {
    throw new Error(
      `Cannot read ${folder}: it has ${compiled.length} pipelines, but ${all.length} were created; does the driver's compiler write statistics?`,
    );
  }
  const rows = kernels.map(({ name, variant }, i) => ({
    ...about(gpu),
    family: familyOf(name),
    kernel: name,
    variant,
    ...compiled[probes.length + i],
  }));
  return { kernels, rows };
}

/** Products and attention, and the least share of their hot loops; null: a loop on matrix units has no limit. */
const JUDGED: Readonly<Record<string, Limit | null>> = {
  matmul: PRODUCT_LOOPS,
  matmulStaged: PRODUCT_LOOPS,
  matmulSubgroupMatrix: null,
  attention: ATTENTION_LOOPS,
  attentionBackwardQ: ATTENTION_LOOPS,
  attentionBackwardKv: ATTENTION_LOOPS,
  attentionMatrices: null,
  attentionMatricesBackwardQ: null,
  attentionMatricesBackwardKv: null,
};

/** Faults of compiled kernels, a line each: registers spilled, and on RDNA 2 and 3 what misses its limit. */
export function faultsOf(rows: readonly IsaRow[]): string[] {
  return rows.flatMap((row) => {
    const { adapter, kernel, variant, spilled, waves, loops } = row;
    const named = `${kernel} (${briefly(variant)})`;
    const faults = spilled > 0 ? [`${named} spills ${spilled} registers`] : [];
    const limit = JUDGED[kernel];
    if (limit === undefined || !/rdna-[23]\b/.test(adapter)) return faults;
    if (!meets(waves, WAVES))
      faults.push(`${named} leaves room for ${waves} subgroups a SIMD, at least ${WAVES.least} are asked`);
    if (limit && loops.some(({ share }) => !meets(Math.round(100 * share) / 100, limit)))
      faults.push(`${named} has loops of ${sharesOf(row)}, a share of ${limit.least} is asked`);
    return faults;
  });
}

/** Shares of a kernel's loops, the largest loop first: `0.91 of 287, 0.83 of 96`. */
export function sharesOf({ loops }: Pick<Compiled, "loops">): string {
  return [...loops]
    .sort((x, y) => y.fma - x.fma)
    .map(({ fma, valu, share }) => `${share.toFixed(2)} of ${fma + valu}`)
    .join(", ");
}

/** The results as a text table. */
export function isaTable(rows: readonly IsaRow[]): string {
  const headings = ["family", "kernel", "wave", "VGPRs", "spilled", "LDS", "waves", "instructions"] as const;
  return renderTable(
    [
      ...headings.map((heading, i) => ({ heading, align: i > 1 ? ("right" as const) : undefined })),
      { heading: "FMA share of loops" },
      { heading: "variant" },
    ],
    rows.map((row) => [
      row.family,
      row.kernel,
      row.wave,
      row.vgprs,
      row.spilled,
      row.lds,
      row.waves,
      row.instructions,
      sharesOf(row),
      briefly(row.variant),
    ]),
  );
}

/** A variant without its unset options. */
export function briefly(variant: object): string {
  return Object.entries(variant)
    .filter(([, value]) => value !== false && value !== "none" && value !== 0 && value !== undefined)
    .map(([name, value]) => {
      if (value === true) return name;
      if (name === "tile" && typeof value === "object") return tileName(value);
      return `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`;
    })
    .join(", ");
}

function tileName(tile: Record<string, unknown>): string {
  const { rows, cols, lanes, groups, stage, matrix, kind } = tile;
  return `${kind ?? (matrix ? "matrices" : stage ? "staged" : "direct")} ${rows}×${cols} of ${lanes}×${groups}${stage ? ` by ${stage}` : ""}`;
}
