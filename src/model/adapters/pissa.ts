import { UnsupportedError } from "../../errors.ts";
import type { Checkpoint } from "../../io/checkpoint.ts";
import type { Adapter } from "../../io/peft.ts";
import { type Dtype, toFloat32 } from "../../io/safetensors.ts";
import type { MergeRows } from "./adapter.ts";
import { type LoraConfig, lora, loraName } from "./lora.ts";
import { topSingular } from "./svd.ts";
import type { Target } from "./targets.ts";

// PiSSA starts from W = (W − s·B₀·A₀) + s·B₀·A₀ with the r largest singular values in B₀·A₀, and trains A and B over the
// residual base W − s·B₀·A₀. A saved adapter is for the base as published: [A; A₀] and [B, −B₀] of rank 2r are plain LoRA
// with the same sum. PEFT writes the same with path_initial_model_for_weight_conversion.

/** An adapter's start by PiSSA. @see Meng et al. 2024, arXiv:2404.02948; peft/tuners/lora/layer.py, pissa_init */
export interface PissaStart {
  /** A₀ `[r, in]` and B₀ `[out, r]` by their names */
  matrices: ReadonlyMap<string, Float32Array>;
  /** by names of weights: subtracts s·B₀·A₀ from rows */
  residuals: ReadonlyMap<string, MergeRows>;
}

/**
 * Computes A₀ = √(S/s)·Vᵀ and B₀ = U·√(S/s) of every target, from the singular values of its weight, in float64. Yields to other work
 * between two weights.
 *
 * @throws {UnsupportedError} weights in 4 bits, as in PEFT
 */
export async function startPissa(
  { weights, read, folder }: Pick<Checkpoint, "weights" | "read" | "folder">,
  targets: readonly Target[],
  { signal, onProgress }: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
): Promise<PissaStart> {
  const matrices = new Map<string, Float32Array>();
  const residuals = new Map<string, MergeRows>();
  for (const [done, target] of targets.entries()) {
    signal?.throwIfAborted();
    onProgress?.(done, targets.length);
    await new Promise((resolve) => setTimeout(resolve, 0));
    const name = `${target.path}.weight`;
    const { dtype } = weights.get(name)!;
    if (dtype === "NF4") {
      throw new UnsupportedError(
        `Cannot start with init_lora_weights pissa: ${name} of ${folder.path} is stored in 4 bits; use a checkpoint in bf16, f16 or f32`,
      );
    }
    const { out, inner, r, scale } = target;
    if (r > Math.min(out, inner)) {
      throw new UnsupportedError(
        `Cannot start with init_lora_weights pissa: rank ${r} exceeds the ${Math.min(out, inner)} singular values of ${name} [${out},${inner}]`,
      );
    }
    const { u, s, v } = topSingular(toFloat32(await read(name), dtype as Dtype), out, inner, r);
    const [a, b] = [new Float32Array(r * inner), new Float32Array(out * r)];
    for (let k = 0; k < r; k++) {
      const root = Math.sqrt(s[k] / scale);
      for (let j = 0; j < inner; j++) a[k * inner + j] = root * v[k * inner + j];
      for (let i = 0; i < out; i++) b[i * r + k] = root * u[k * out + i];
    }
    matrices.set(loraName(target, "lora_A"), a).set(loraName(target, "lora_B"), b);
    const negative = { ...target, scale: -scale, dora: false };
    residuals.set(name, await lora.merge(negative, async (matrix) => matrices.get(matrix)!));
  }
  onProgress?.(targets.length, targets.length);
  return { matrices, residuals };
}

/** The settings of a PiSSA adapter as plain LoRA: twice the rank, and the same factor. */
export function doubledConfig<Config extends LoraConfig>(config: Config): Omit<Config, "init_lora_weights"> {
  const { init_lora_weights: _, ...plain } = config;
  const { r, lora_alpha, use_rslora, rank_pattern, alpha_pattern } = config;
  const factor = use_rslora ? Math.SQRT2 : 2;
  const times = (pattern: Readonly<Record<string, number>>, by: number) =>
    Object.fromEntries(Object.entries(pattern).map(([key, value]) => [key, by * value]));
  return {
    ...plain,
    r: 2 * r,
    lora_alpha: factor * lora_alpha,
    ...(rank_pattern && { rank_pattern: times(rank_pattern, 2) }),
    ...(alpha_pattern && { alpha_pattern: times(alpha_pattern, factor) }),
  };
}

interface Matrix {
  name: string;
  shape: readonly number[];
  data: Float32Array;
}

function doubledShape(name: string, shape: readonly number[]): readonly number[] {
  if (name.includes(".lora_A.")) return [2 * shape[0], shape[1]];
  return name.includes(".lora_B.") ? [shape[0], 2 * shape[1]] : shape;
}

/** A matrix and the one that it started from as one: `[A; A₀]` `[2r, in]`, `[B, −B₀]` `[out, 2r]`; other tensors unchanged. */
export function doubled({ name, shape, data }: Matrix, { matrices }: PissaStart): Matrix {
  const start = matrices.get(name);
  if (!start) return { name, shape, data };
  const all = new Float32Array(2 * data.length);
  const [rows, columns] = shape;
  if (name.includes(".lora_A.")) {
    all.set(data);
    all.set(start, data.length);
    return { name, shape: doubledShape(name, shape), data: all };
  }
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < columns; k++) {
      all[2 * i * columns + k] = data[i * columns + k];
      all[(2 * i + 1) * columns + k] = -start[i * columns + k];
    }
  }
  return { name, shape: doubledShape(name, shape), data: all };
}

/** The trained half of a doubled matrix. @param shape of the half */
export function halved({ name, shape, data }: Matrix): Float32Array {
  const [rows, columns] = shape;
  if (name.includes(".lora_A.")) return data.slice(0, rows * columns);
  return Float32Array.from({ length: rows * columns }, (_, at) => {
    return data[2 * Math.floor(at / columns) * columns + (at % columns)];
  });
}

/** An adapter over the residual base as one over the published base. */
export function doubledAdapter(adapter: Adapter, start: PissaStart): Adapter {
  const shapeOf = (name: string) => adapter.tensors.get(name)!.shape;
  const tensors = new Map(
    [...adapter.tensors].map(([name, { dtype, shape }]) => [name, { dtype, shape: doubledShape(name, shape) }]),
  );
  const read = async (name: string) =>
    doubled({ name, shape: shapeOf(name), data: await adapter.read(name) }, start).data;
  return { config: doubledConfig(adapter.config), tensors, read };
}
