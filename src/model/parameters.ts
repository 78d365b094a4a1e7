import { ShapeError } from "../errors.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { sizeOf, type Tensor, view } from "../gpu/tensor.ts";

/** A parameter that will be trained. */
export interface ParameterSpec {
  /** its name in a checkpoint or adapter file */
  name: string;
  shape: readonly number[];
  /** whether weight decay applies: matrices yes, biases and norms no */
  decay: boolean;
  /** whether it is a matrix of a hidden layer: no table, norm or bias. Muon updates these only */
  hidden?: boolean;
}

/** A parameter's place. */
interface Parameter extends ParameterSpec {
  /** the shard that holds it */
  shard: number;
  /** first element in the shard, a multiple of ALIGN */
  start: number;
  size: number;
}

/** Alignment of parameters, in elements: whole blocks of the 8-bit optimizer, and any buffer-offset alignment. */
const ALIGN = 256;
/** Smaller tensors keep 32-bit optimizer state under adamw_8bit, as in bitsandbytes. */
const MIN_8BIT = 4096;

/** Values of parameters, and their gradients in the same layout: f32. */
interface ParameterShard {
  values: Tensor;
  grads: Tensor;
}

/** A run of neighbouring parameters of a shard that the optimizer treats alike. */
export interface ParameterRange {
  shard: number;
  start: number;
  size: number;
  decay: boolean;
  /** whether all its parameters are large enough for 8-bit state */
  large: boolean;
}

/**
 * All trainable parameters in one f32 buffer, their gradients in another: zeroing, clipping and AdamW need few
 * dispatches. More parameters than a buffer of the device holds are in several such shards, each parameter in one.
 */
export class ParameterStore {
  readonly parameters: readonly Parameter[];
  readonly ranges: readonly ParameterRange[];
  readonly shards: readonly ParameterShard[];
  private readonly byName: Map<string, Parameter>;

  constructor(gpu: Gpu, specs: readonly ParameterSpec[]) {
    // Large before small, and decayed before undecayed, so that each kind is one range.
    const kind = (s: ParameterSpec) => (sizeOf(s.shape) >= MIN_8BIT ? 0 : 2) + (s.decay ? 0 : 1);
    const sorted = [...specs].sort((a, b) => kind(a) - kind(b)); // stable: file order within a kind
    const ranges: ParameterRange[] = [];
    const sizes = [0];
    const most = Math.floor(gpu.limits.maxBufferSize / 4);
    this.parameters = sorted.map((spec, i) => {
      const size = sizeOf(spec.shape);
      const padded = Math.ceil(size / ALIGN) * ALIGN;
      const last = sizes.length - 1;
      const full = sizes[last] > 0 && sizes[last] + padded > most; // a parameter above the limit fails where it is allocated
      if (full) sizes.push(0);
      const shard = sizes.length - 1;
      const start = sizes[shard];
      sizes[shard] = start + padded;
      if (i === 0 || full || kind(sorted[i - 1]) !== kind(spec))
        ranges.push({ shard, start, size: 0, decay: spec.decay, large: kind(spec) < 2 });
      const range = ranges[ranges.length - 1];
      range.size = sizes[shard] - range.start;
      return { ...spec, shard, start, size };
    });
    this.ranges = ranges;
    this.byName = new Map(this.parameters.map((p) => [p.name, p]));
    if (this.byName.size !== specs.length) throw new ShapeError("Cannot lay out parameters: two have the same name");
    const label = (what: string, shard: number) => (sizes.length > 1 ? `${what}.${shard}` : what);
    this.shards = sizes.map((size, shard) => ({
      values: gpu.persistent([size], "f32", label("parameters", shard), "trainable"),
      grads: gpu.persistent([size], "f32", label("gradients", shard), "trainable"),
    }));
  }

  /** All values, of a model whose parameters fit one buffer. @throws {ShapeError} they are in several */
  get values(): Tensor {
    return this.only().values;
  }

  /** All gradients, of a model whose parameters fit one buffer. @throws {ShapeError} they are in several */
  get grads(): Tensor {
    return this.only().grads;
  }

  private only(): ParameterShard {
    if (this.shards.length === 1) return this.shards[0];
    throw new ShapeError(
      `Cannot use all parameters as one tensor: this device holds them in ${this.shards.length} buffers`,
    );
  }

  /** Records zeros for all gradients. */
  clearGrads(record: Recorder): void {
    for (const { grads } of this.shards) record.clear(grads);
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
    return this.part("values", name);
  }

  /** The parameter's gradient, as a view. */
  grad(name: string): Tensor {
    return this.part("grads", name);
  }

  /**
   * Views of values and gradients that span all of these parameters, and each parameter's offset in them; null if the
   * span exceeds `limit` bytes, or if they are in several shards.
   */
  span(names: readonly string[], limit: number): { values: Tensor; grads: Tensor; at: number[] } | null {
    const all = names.map((name) => this.parameter(name));
    const [{ shard }] = all;
    if (all.some((other) => other.shard !== shard)) return null;
    const first = Math.min(...all.map(({ start }) => start));
    const count = Math.max(...all.map(({ start, size }) => start + size)) - first;
    if (4 * count > limit) return null;
    const label = names.length === 1 ? names[0] : `${names[0]}…`;
    const cut = (buffer: Tensor) => view(buffer, [count], first, label);
    const { values, grads } = this.shards[shard];
    return { values: cut(values), grads: cut(grads), at: all.map(({ start }) => start - first) };
  }

  /** Writes a parameter's value. */
  write(gpu: Gpu, name: string, data: Float32Array): void {
    const target = this.value(name);
    if (data.length !== sizeOf(target.shape))
      throw new ShapeError(`Cannot set ${name} [${target.shape}] from ${data.length} values`);
    gpu.write(target, data);
  }

  /**
   * Slices every parameter out of copies of the shards' values, or of their gradients.
   *
   * @param buffers of each shard; for a single shard, its buffer alone
   */
  split(
    buffers: ArrayBuffer | readonly ArrayBuffer[],
  ): { name: string; shape: readonly number[]; data: Float32Array }[] {
    const all = buffers instanceof ArrayBuffer ? [buffers] : buffers;
    if (all.length !== this.shards.length)
      throw new ShapeError(`Cannot split ${all.length} buffers into parameters: they are in ${this.shards.length}`);
    return this.parameters.map(({ name, shape, shard, start, size }) => ({
      name,
      shape,
      data: new Float32Array(all[shard], 4 * start, size),
    }));
  }

  private parameter(name: string): Parameter {
    const parameter = this.byName.get(name);
    if (!parameter) throw new ShapeError(`There is no trainable parameter ${name}`);
    return parameter;
  }

  private part(of: keyof ParameterShard, name: string): Tensor {
    const { shard, shape, start } = this.parameter(name);
    return view(this.shards[shard][of], shape, start, name);
  }
}
