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

/** Whether products may use subgroup matrices, an experimental feature of Dawn: `QWENCH_SUBGROUP_MATRIX=1`. */
export function wantsSubgroupMatrix(env: Record<string, string | undefined>): boolean {
  return env.QWENCH_SUBGROUP_MATRIX === "1";
}
