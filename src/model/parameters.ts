import { ShapeError } from "../errors.ts";
import type { Gpu } from "../gpu/device.ts";
import { sizeOf, type Tensor, view } from "../gpu/tensor.ts";

/** A parameter that will be trained. */
export interface ParameterSpec {
  /** its name in a checkpoint or adapter file */
  name: string;
  shape: readonly number[];
  /** whether weight decay applies: matrices yes, biases and norms no */
  decay: boolean;
}

/** A parameter's place in the mega-buffer. */
interface Parameter extends ParameterSpec {
  /** first element, a multiple of ALIGN */
  start: number;
  size: number;
}

/** Alignment of parameters, in elements: whole blocks of the 8-bit optimizer, and any buffer-offset alignment. */
const ALIGN = 256;
/** Smaller tensors keep 32-bit optimizer state under adamw_8bit, as in bitsandbytes. */
const MIN_8BIT = 4096;

/** A run of neighbouring parameters that the optimizer treats alike. */
export interface ParameterRange {
  start: number;
  size: number;
  decay: boolean;
  /** whether all its parameters are large enough for 8-bit state */
  large: boolean;
}

/**
 * All trainable parameters in one f32 buffer, their gradients in another: zeroing, clipping and AdamW need few
 * dispatches.
 */
export class ParameterStore {
  readonly parameters: readonly Parameter[];
  readonly ranges: readonly ParameterRange[];
  readonly values: Tensor;
  readonly grads: Tensor;
  private readonly byName: Map<string, Parameter>;

  constructor(gpu: Gpu, specs: readonly ParameterSpec[]) {
    // Large before small, and decayed before undecayed, so that each kind is one range.
    const kind = (s: ParameterSpec) => (sizeOf(s.shape) >= MIN_8BIT ? 0 : 2) + (s.decay ? 0 : 1);
    const sorted = [...specs].sort((a, b) => kind(a) - kind(b)); // stable: file order within a kind
    const ranges: ParameterRange[] = [];
    let end = 0;
    this.parameters = sorted.map((spec, i) => {
      const size = sizeOf(spec.shape);
      const start = end;
      end = start + Math.ceil(size / ALIGN) * ALIGN;
      if (i === 0 || kind(sorted[i - 1]) !== kind(spec))
        ranges.push({ start, size: 0, decay: spec.decay, large: kind(spec) < 2 });
      const range = ranges[ranges.length - 1];
      range.size = end - range.start;
      return { ...spec, start, size };
    });
    this.ranges = ranges;
    this.byName = new Map(this.parameters.map((p) => [p.name, p]));
    if (this.byName.size !== specs.length) throw new ShapeError("Cannot lay out parameters: two have the same name");
    this.values = gpu.persistent([end], "f32", "parameters", "trainable");
    this.grads = gpu.persistent([end], "f32", "gradients", "trainable");
  }

  /** Elements of all parameters, without padding. */
  get count(): number {
    return this.parameters.reduce((n, p) => n + p.size, 0);
  }

  has(name: string): boolean {
    return this.byName.has(name);
  }

  /** The parameter's current value, as a view. */
  value(name: string): Tensor {
    return this.part(this.values, name);
  }

  /** The parameter's gradient, as a view. */
  grad(name: string): Tensor {
    return this.part(this.grads, name);
  }

  /**
   * Views of values and gradients that span all of these parameters, and each parameter's offset in them; null if the
   * span exceeds `limit` bytes.
   */
  span(names: readonly string[], limit: number): { values: Tensor; grads: Tensor; at: number[] } | null {
    const all = names.map((name) => this.parameter(name));
    const first = Math.min(...all.map(({ start }) => start));
    const count = Math.max(...all.map(({ start, size }) => start + size)) - first;
    if (4 * count > limit) return null;
    const label = names.length === 1 ? names[0] : `${names[0]}…`;
    const cut = (buffer: Tensor) => view(buffer, [count], first, label);
    return { values: cut(this.values), grads: cut(this.grads), at: all.map(({ start }) => start - first) };
  }

  /** Writes a parameter's value. */
  write(gpu: Gpu, name: string, data: Float32Array): void {
    const target = this.value(name);
    if (data.length !== sizeOf(target.shape))
      throw new ShapeError(`Cannot set ${name} [${target.shape}] from ${data.length} values`);
    gpu.write(target, data);
  }

  /** Slices every parameter out of a copy of one of the mega-buffers. */
  split(buffer: ArrayBuffer): { name: string; shape: readonly number[]; data: Float32Array }[] {
    return this.parameters.map(({ name, shape, start, size }) => ({
      name,
      shape,
      data: new Float32Array(buffer, 4 * start, size),
    }));
  }

  private parameter(name: string): Parameter {
    const parameter = this.byName.get(name);
    if (!parameter) throw new ShapeError(`There is no trainable parameter ${name}`);
    return parameter;
  }

  private part(buffer: Tensor, name: string): Tensor {
    const parameter = this.parameter(name);
    return view(buffer, parameter.shape, parameter.start, name);
  }
}
