import { ShapeError } from "../errors.ts";
import type { GpuContext } from "../gpu/context.ts";
import type { Grid } from "../gpu/dispatch.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { sizeOf, type Tensor, view } from "../gpu/tensor.ts";

/** Workgroup size of kernels in which each thread handles one element or one vec4. */
export const WORKGROUP = 64;

/** Threads of a workgroup that sums one row: on CPU adapters those of one vector, because each barrier costs time for every vector. */
export function rowThreads({ profile }: GpuContext): number {
  return profile.kind === "cpu" ? 8 : WORKGROUP;
}

/** Elements per dispatch for long arrays: short enough that a submission can end between two dispatches. */
const RANGE = 1 << 24;

/** A grid of at least `threads` threads; the recorder folds it to the device's limits. */
export function threadGrid(threads: number): number {
  return Math.ceil(threads / WORKGROUP);
}

/** A grid with one grid row per array row of `threads` threads; rows beyond the limit of y continue along z. */
export function rowGrid(record: Recorder, threads: number, rows: number): Grid {
  const limit = record.gpu.limits.maxComputeWorkgroupsPerDimension;
  const z = Math.ceil(rows / limit);
  return [Math.ceil(threads / WORKGROUP), z === 0 ? 0 : Math.ceil(rows / z), z];
}

/** Number of elements, and whether vec4 access is possible: every array must then end at a whole vec4. */
export function lanes(count: number): { vector: boolean; count: number } {
  const vector = count % 4 === 0;
  return { vector, count: vector ? count / 4 : count };
}

/**
 * Parts of an array of `count` elements that fit a binding.
 *
 * @param align every start is a multiple of this many elements, so that views satisfy WebGPU's binding alignment
 */
export function ranges(
  record: Recorder,
  count: number,
  align: number,
  most = RANGE,
): { start: number; count: number }[] {
  const fits = Math.min(most, Math.floor(record.gpu.limits.maxStorageBufferBindingSize / 4));
  const length = Math.max(align, Math.floor(fits / align) * align);
  const parts = [];
  for (let start = 0; start < count; start += length) parts.push({ start, count: Math.min(length, count - start) });
  return parts;
}

/** `count` elements of a tensor from `start`, as one row. */
export function part(tensor: Tensor, start: number, count: number): Tensor {
  return view(tensor, [count], start);
}

/** @throws {ShapeError} `Cannot add: y [63] must have as many elements as x [65]` */
export function sameSize(what: string, first: Tensor, ...others: Tensor[]): void {
  const odd = others.find((t) => sizeOf(t.shape) !== sizeOf(first.shape));
  if (odd) {
    throw new ShapeError(
      `Cannot ${what}: ${odd.label} [${odd.shape}] must have as many elements as ${first.label} [${first.shape}]`,
    );
  }
}

/** @throws {ShapeError} `Cannot rotate: positions [3] must be [5]` */
export function sameShape(what: string, tensor: Tensor, shape: readonly number[]): void {
  if (tensor.shape.length !== shape.length || tensor.shape.some((d, i) => d !== shape[i])) {
    throw new ShapeError(`Cannot ${what}: ${tensor.label} [${tensor.shape}] must be [${shape}]`);
  }
}
