import type { Gpu } from "../../gpu/device.ts";
import { byteLength, isQuantized, QUANT_BLOCK, sizeOf, type Tensor } from "../../gpu/tensor.ts";
import type { Dora, Linear, LinearGrads, Lora } from "../../kernels/matmul/linear.ts";
import { loraName } from "../adapters/lora.ts";
import type { Target } from "../adapters/targets.ts";
import type { Module } from "../architectures/tensors.ts";
import type { ParameterStore } from "../parameters.ts";
import type { Slot, WeightDType } from "../slots.ts";

/** A layer and the buffers for its gradients. */
interface BuiltLinear {
  linear: Linear;
  grads: LinearGrads;
}

/** The model to allocate for, and the records of its memory. */
interface Building {
  store: ParameterStore | null;
  /** linear layers with an adapter, by their paths */
  targets: ReadonlyMap<string, Target>;
  dropout: number;
  dtypeOf: (name: string) => WeightDType;
  slots: Map<string, readonly Slot[]>;
}

/** A buffer that holds one tensor of each part. */
interface Held {
  tensor: Tensor;
  grads: Tensor | null;
  /** first element of each part */
  at: readonly number[];
}

/**
 * Allocates linear layers that read the same input: one `Linear` if bindings of this device can hold all tensors of
 * each kind, else one per module. Adds the checkpoint's tensors to `slots`.
 */
export function buildGroup(gpu: Gpu, modules: readonly Module[], building: Building): BuiltLinear[] {
  const together = tryBuild(gpu, modules, building);
  if (together) return [together];
  return modules.map((module) => tryBuild(gpu, [module], building)!);
}

function tryBuild(gpu: Gpu, modules: readonly Module[], building: Building): BuiltLinear | null {
  const { store, targets, dropout } = building;
  const alone = modules.length === 1; // a tensor that is too large then fails at binding
  const limit = alone
    ? Number.POSITIVE_INFINITY
    : Math.min(gpu.limits.maxStorageBufferBindingSize, gpu.limits.maxBufferSize);
  const shapes = modules.map(({ out, inner }) => [out, inner]);
  const tuned = modules.flatMap(({ path }) => targets.get(path) ?? []);
  const [first] = tuned;
  // one kernel handles pairs of one rank and factor
  if (tuned.some(({ r, scale }) => r !== first.r || scale !== first.scale)) return null;
  const spanOf = (part: Parameters<typeof loraName>[1]) =>
    store!.span(
      tuned.map((module) => loraName(module, part)),
      limit,
    );
  const pairs = tuned.length > 0 ? { a: spanOf("lora_A"), b: spanOf("lora_B") } : null;
  if (pairs && !(pairs.a && pairs.b)) return null;
  const magnitudes = first?.dora ? spanOf("lora_magnitude_vector") : null;
  if (first?.dora && !magnitudes) return null;
  const named = (ending: string) => modules.map(({ path }) => `${path}.${ending}`);
  const biased = modules.every(({ bias }) => bias);
  if (!biased && modules.some(({ bias }) => bias)) return null;
  const weight = hold(gpu, named("weight"), shapes, limit, building);
  if (!weight) return null;
  const lengths = shapes.map(([out]) => [out]);
  const bias = biased ? hold(gpu, named("bias"), lengths, limit, building) : null;
  if (biased && !bias) {
    if (weight.grads === null) gpu.drop(weight.tensor);
    return null;
  }
  let pair = 0;
  const parts = modules.map((module): Lora["parts"][number] => {
    if (!targets.has(module.path)) return null;
    const place = { aAt: pairs!.a!.at[pair], bAt: pairs!.b!.at[pair], index: module.index };
    pair++;
    return place;
  });
  return {
    linear: {
      inner: shapes[0][1],
      weight: weight.tensor,
      bias: bias?.tensor ?? null,
      parts: shapes.map(([out], i) => ({ out, weightAt: weight.at[i], biasAt: bias?.at[i] ?? 0 })),
      lora: pairs && {
        a: pairs.a!.values,
        b: pairs.b!.values,
        r: first.r,
        scale: first.scale,
        dropout,
        parts,
        dora: magnitudes && { magnitude: magnitudes.values, ...newGains(gpu, modules, targets, magnitudes.at) },
      },
    },
    grads: {
      weight: weight.grads,
      bias: bias?.grads ?? null,
      loraA: pairs?.a?.grads ?? null,
      loraB: pairs?.b?.grads ?? null,
      magnitude: magnitudes?.grads ?? null,
    },
  };
}

/** Gains of 1 for a layer's columns, and the places of its magnitudes. @param at of each target's magnitudes, in order */
export function newGains(
  gpu: Gpu,
  modules: readonly Pick<Module, "path" | "out">[],
  targets: ReadonlyMap<string, unknown>,
  at: readonly number[],
): Omit<Dora, "magnitude"> {
  const width = modules.reduce((sum, { out }) => sum + out, 0);
  const gains = gpu.persistent([2, width], "f32", `${modules[0].path}.gains`, "weights");
  gpu.write(gains, new Float32Array(2 * width).fill(1));
  let pair = 0;
  return { gains, at: modules.map(({ path }) => (targets.has(path) ? at[pair++] : null)) };
}

/** One buffer for several tensors of the checkpoint; null if they cannot share a buffer. */
function hold(
  gpu: Gpu,
  names: readonly string[],
  shapes: readonly (readonly number[])[],
  limit: number,
  { store, dtypeOf, slots }: Building,
): Held | null {
  const sizes = shapes.map(sizeOf);
  const keep = (tensorOf: (i: number) => { tensor: Tensor; at: number }) =>
    names.forEach((name, i) => {
      slots.set(name, [{ ...tensorOf(i), shape: shapes[i], start: 0 }]);
    });
  if (store?.has(names[0])) {
    const span = store.span(names, limit);
    if (!span) return null;
    keep((i) => ({ tensor: store.value(names[i]), at: 0 }));
    return { tensor: span.values, grads: span.grads, at: span.at };
  }
  const dtype = dtypeOf(names[0]);
  const unit = isQuantized(dtype) ? QUANT_BLOCK : 4; // parts begin at word boundaries, codes at block boundaries
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const at = sizes.map((_, i) => sizes.slice(0, i).reduce((sum, size) => sum + size, 0));
  if (names.some((name) => dtypeOf(name) !== dtype) || at.some((start) => start % unit !== 0)) return null;
  if (byteLength(total, dtype) > limit) return null;
  const inner = shapes[0].length > 1 ? [total / shapes[0][1], shapes[0][1]] : [total];
  const tensor = gpu.frozen(inner, dtype, names.length === 1 ? names[0] : `${names[0]}…`);
  keep((i) => ({ tensor, at: at[i] }));
  return { tensor, grads: null, at };
}
