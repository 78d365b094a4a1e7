import type { SubgroupMatrix } from "../../shaders/matmul/lib/variant.ts";
import type { AdapterProfile } from "./profile.ts";

/** Dawn's feature name; available if the instance allows unsafe APIs. */
export const SUBGROUP_MATRIX = "chromium-experimental-subgroup-matrix" as GPUFeatureName;

/** A matrix configuration of `GPUAdapterInfo`; missing from WebGPU's own types. */
interface Config {
  componentType: string;
  resultComponentType: string;
  M: number;
  N: number;
  K: number;
}

const configsOf = (info: GPUAdapterInfo) => [
  ...((info as { subgroupMatrixConfigs?: Iterable<Config> }).subgroupMatrixConfigs ?? []),
];

/**
 * The matrix configuration for products: f32 sums, f16 preferred over f32 operands, the largest. Null if there is none,
 * or if the subgroup size is unknown before the kernel runs.
 */
export function subgroupMatrixOf(
  adapter: Pick<GPUAdapter, "features" | "info">,
  { subgroup }: Pick<AdapterProfile, "subgroup">,
  f16: boolean,
): SubgroupMatrix | null {
  if (!adapter.features.has(SUBGROUP_MATRIX) || !subgroup?.matrixSize) return null;
  const { matrixSize: size, max, asks } = subgroup;
  const own = { size, multiple: max, ...(asks && { asks }) } as const;
  const kinds = configsOf(adapter.info).flatMap(({ componentType, resultComponentType, M, N, K }) => {
    if (resultComponentType !== "f32" || 32 % M > 0 || 32 % N > 0 || 32 % K > 0) return [];
    if (componentType !== "f32" && !(componentType === "f16" && f16)) return [];
    return [{ type: componentType as "f16" | "f32", m: M, n: N, k: K, ...own }];
  });
  const worth = ({ type, m, n, k }: SubgroupMatrix) => (type === "f16" ? 1e6 : 0) + m * n * k;
  return kinds.sort((x, y) => worth(y) - worth(x))[0] ?? null;
}

/** For display: `f16 16×16×16 → f32`, one per configuration; null if the adapter does not have the feature. */
export function describeSubgroupMatrices({ features, info }: Pick<GPUAdapter, "features" | "info">): string[] | null {
  if (!features.has(SUBGROUP_MATRIX)) return null;
  return configsOf(info).map(
    ({ componentType, resultComponentType, M, N, K }) => `${componentType} ${M}×${N}×${K} → ${resultComponentType}`,
  );
}

/** Whether `QWENCH_SUBGROUP_MATRIX=0` turns the matrix units off. */
export function refusesSubgroupMatrix(env: Record<string, string | undefined>): boolean {
  return env.QWENCH_SUBGROUP_MATRIX === "0";
}

/**
 * One product of whole numbers, which is exact in every type: of rows of `left` and rows of `right`. Its loads are those
 * of the kernels, from a block in workgroup memory.
 */
export function matrixProbe({ type, m, n, k, size, multiple, asks, older }: SubgroupMatrix): string {
  const load = (as: string, block: string, column: boolean) =>
    older
      ? `subgroupMatrixLoad<${as}>(&${block}, 0u, ${column}, ${k}u)`
      : `subgroupMatrixLoad<${as}, ${column ? "col_major" : "row_major"}>(&${block}, 0u, ${k}u)`;
  const store = older
    ? `subgroupMatrixStore(&sums[sub], 0u, acc, false, ${n}u)`
    : `subgroupMatrixStore<row_major>(&sums[sub], 0u, acc, ${n}u)`;
  return `
enable chromium_experimental_subgroup_matrix;
${type === "f16" ? "enable f16;" : ""}
${asks ? "enable subgroups;\nenable subgroup_size_control;" : ""}
diagnostic(off, chromium.subgroup_matrix_uniformity);
alias Left = subgroup_matrix_left<${type}, ${k}, ${m}>;
alias Right = subgroup_matrix_right<${type}, ${n}, ${k}>;
alias Result = subgroup_matrix_result<f32, ${n}, ${m}>;
@group(0) @binding(0) var<storage, read_write> c: array<f32>;
var<workgroup> left: array<array<${type}, ${m * k}>, 1>;
var<workgroup> right: array<array<${type}, ${n * k}>, 1>;
var<workgroup> sums: array<array<f32, ${m * n}>, ${multiple / size}>;
@compute @workgroup_size(${multiple}) ${asks ? `@subgroup_size(${size})` : ""}
fn main(@builtin(local_invocation_index) thread: u32, @builtin(subgroup_id) id: u32) {
  let sub = id % ${multiple / size}u;
  for (var i = thread; i < ${m * k}u; i += ${multiple}u) { left[0][i] = ${type}(${probed("i", "left")}); }
  for (var i = thread; i < ${n * k}u; i += ${multiple}u) { right[0][i] = ${type}(${probed("i", "right")}); }
  workgroupBarrier();
  var acc = Result();
  acc = subgroupMatrixMultiplyAccumulate(${load("Left", "left[0]", false)}, ${load("Right", "right[0]", true)}, acc);
  ${store};
  workgroupBarrier();
  for (var i = thread; i < ${m * n}u; i += ${multiple}u) { c[i] = sums[${multiple / size - 1}][i]; }
}`;
}

/** Element i of an operand of the probe, in WGSL. */
const probed = (i: string, side: "left" | "right") =>
  side === "left" ? `i32(${i} * 7u % 11u) - 5` : `i32(${i} * 5u % 13u) - 6`;

/** The probe's result `[m, n]`. */
function matrixProbeResult({ m, n, k }: SubgroupMatrix): Float32Array {
  const [left, right] = [(i: number) => ((i * 7) % 11) - 5, (i: number) => ((i * 5) % 13) - 6];
  return Float32Array.from({ length: m * n }, (_, at) => {
    const [row, col] = [Math.floor(at / n), at % n];
    let sum = 0;
    for (let s = 0; s < k; s++) sum += left(row * k + s) * right(col * k + s);
    return sum;
  });
}

/**
 * Tests the matrix units on a device: drivers may accept a kernel and return wrong numbers. Tries the layout as a
 * parameter of the builtins' type, then as an argument, as Dawn had it before.
 *
 * @param run false: the kernel must only compile, for devices that run nothing
 * @returns the configuration with the form of the builtins that works; null if neither does
 */
export async function provenMatrix(
  device: GPUDevice,
  matrix: SubgroupMatrix,
  run = true,
): Promise<SubgroupMatrix | null> {
  for (const tried of [matrix, { ...matrix, older: true as const }]) {
    const pipeline = await compiled(device, matrixProbe(tried));
    if (pipeline) return !run || (await computes(device, pipeline, tried)) ? tried : null;
  }
  return null;
}

async function compiled(device: GPUDevice, code: string): Promise<GPUComputePipeline | null> {
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code, label: "probe of matrix units" });
  const pipeline = device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main" } });
  return (await device.popErrorScope()) === null ? pipeline : null;
}

async function computes(device: GPUDevice, pipeline: GPUComputePipeline, matrix: SubgroupMatrix): Promise<boolean> {
  const want = matrixProbeResult(matrix);
  const c = device.createBuffer({ size: want.byteLength, usage: 0x84, label: "probe of matrix units" }); // STORAGE | COPY_SRC
  const staging = device.createBuffer({ size: want.byteLength, usage: 0x09 }); // MAP_READ | COPY_DST
  try {
    device.pushErrorScope("validation");
    const layout = pipeline.getBindGroupLayout(0);
    const group = device.createBindGroup({ layout, entries: [{ binding: 0, resource: { buffer: c } }] });
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(1);
    pass.end();
    encoder.copyBufferToBuffer(c, 0, staging, 0, want.byteLength);
    device.queue.submit([encoder.finish()]);
    if ((await device.popErrorScope()) !== null) return false;
    await staging.mapAsync(1);
    const got = new Float32Array(staging.getMappedRange());
    return want.every((value, i) => got[i] === value);
  } finally {
    c.destroy();
    staging.destroy();
  }
}
