import { GpuError } from "../errors.ts";
import type { Gpu } from "../gpu/device.ts";
import type { MemoryKind } from "../gpu/pool.ts";
import { Recorder } from "../gpu/recorder.ts";
import { byteLength, codeBytes, type DType, isQuantized, sizeOf, type Tensor } from "../gpu/tensor.ts";
import { dequantizeNf4, encodeInt8, quantizeNf4 } from "../io/nf4.ts";
import { fnvText, lcg } from "../text/hash.ts";

/**
 * One check of a kernel against its float64 reference, for the tests, the bench, and `qwench doctor` on a user's
 * adapter.
 */
export interface KernelCase {
  kernel: string;
  /** shape and variant, in a few words */
  name: string;
  /** the largest allowed error, relative to the largest entry of the expected array */
  tolerance: number;
  /** required feature; without it the case is reported as skipped */
  needs?: "f16";
  /** records the kernel through `check.record` and states the expected values */
  run(check: CaseRun): void;
}

/** The result of a check. */
interface CaseResult {
  kernel: string;
  name: string;
  tolerance: number;
  /** worst error over all compared arrays, relative to each array's largest expected entry; NaN if a value is NaN */
  worst: number;
  /** the array with the worst error */
  what: string;
  ok: boolean;
  skipped?: string;
}

const SENTINEL_WORDS = 16;
const SENTINEL = 0x5e17e1e5;
const POISON = 0x7fc0dead; // a NaN: an element that a kernel fails to write cannot look like a result

/** Allocates poisoned tensors with sentinels after their ends. */
class PoisonRecorder extends Recorder {
  readonly made: Tensor[] = [];

  override empty(shape: readonly number[], dtype: DType, label: string, kind: MemoryKind = "scratch"): Tensor {
    const bytes = byteLength(sizeOf(shape), dtype);
    const block = this.gpu.pool.take(bytes + 4 * SENTINEL_WORDS, kind, label, true);
    const words = new Uint32Array(bytes / 4 + SENTINEL_WORDS).fill(POISON);
    words.fill(SENTINEL, bytes / 4);
    this.gpu.device.queue.writeBuffer(block.memory, 0, words);
    const tensor: Tensor = { label, shape, dtype, buffer: block.memory, offset: 0, bytes, block };
    this.made.push(tensor);
    return tensor;
  }

  /** Keeps tensors to the end of the case, so that sentinels can be read. */
  override release(): void {}
  override scope<T>(body: () => T): T {
    return body();
  }
}

/** The tools of a case. */
export class CaseRun {
  readonly gpu: Gpu;
  readonly record: Recorder;
  private readonly next: () => number;
  private readonly inputs: Tensor[] = [];
  private readonly wanted: { what: string; tensor: Tensor; want: ArrayLike<number> }[] = [];

  constructor(gpu: Gpu, record: Recorder, seed: number) {
    this.gpu = gpu;
    this.record = record;
    this.next = lcg(seed);
  }

  /** A number in [−1, 1), reproducible for each case. */
  random(): number {
    return (this.next() >>> 8) / 8388608 - 1;
  }

  /** Random values on the GPU, rounded to `dtype`, and the same values for the reference. */
  input(shape: readonly number[], label: string, scale = 1, dtype: InputDType = "f32"): Input {
    const values = Float32Array.from({ length: sizeOf(shape) }, () => scale * this.random());
    return this.given(values, shape, label, dtype);
  }

  /** Given values on the GPU, rounded to `dtype`. */
  given(values: Float32Array, shape: readonly number[], label: string, dtype: InputDType = "f32"): Input {
    if (isQuantized(dtype)) {
      const { codes, scales, rounded } = quantizeTo(values, dtype);
      const tensor = this.gpu.persistent(shape, dtype, label, "scratch");
      this.gpu.write(tensor, codes);
      this.gpu.write(tensor, scales, codeBytes(values.length, dtype));
      this.inputs.push(tensor);
      return { tensor, values: rounded };
    }
    const { stored, rounded } = roundTo(values, dtype);
    const tensor = this.gpu.upload(stored, shape, dtype, label, "scratch");
    this.inputs.push(tensor);
    return { tensor, values: rounded };
  }

  /** A random weight matrix, stored like a frozen weight on this adapter: in a texture on some adapters. */
  frozen(shape: readonly number[], label: string, dtype: "f32" | "f16" | "bf16", scale = 1): Input {
    const { stored, rounded } = roundTo(
      Float32Array.from({ length: sizeOf(shape) }, () => scale * this.random()),
      dtype,
    );
    const tensor = this.gpu.frozen(shape, dtype, label);
    this.gpu.write(tensor, stored);
    this.inputs.push(tensor);
    return { tensor, values: rounded };
  }

  /** Whole numbers on the GPU: token ids, positions, starts. */
  integers(values: readonly number[], label: string): Tensor {
    const tensor = this.gpu.upload(Uint32Array.from(values), [values.length], "u32", label, "scratch");
    this.inputs.push(tensor);
    return tensor;
  }

  /** Requires that `tensor` (f32) equals `want` after the case has run. */
  compare(what: string, tensor: Tensor, want: ArrayLike<number>): void {
    this.wanted.push({ what, tensor, want });
  }

  /** Submits, reads back and finds the worst error. */
  async finish(): Promise<{ worst: number; what: string }> {
    const reads = this.wanted.map(({ tensor }) => this.record.read(tensor));
    this.record.submit();
    let worst = 0;
    let which = "nothing compared";
    for (const [i, { what, want }] of this.wanted.entries()) {
      const got = new Float32Array(await reads[i], 0, want.length);
      const error = relativeError(got, want);
      if (which === "nothing compared" || !(error <= worst)) {
        worst = error;
        which = what;
      }
      if (Number.isNaN(worst)) break;
    }
    if (this.wanted.length === 0) throw new GpuError("A kernel case compared nothing");
    await this.gpu.settle();
    await this.checkSentinels();
    return { worst, what: which };
  }

  /** Frees all memory of the case. */
  free(): void {
    this.gpu.drop(...this.inputs, ...(this.record as PoisonRecorder).made);
  }

  private async checkSentinels(): Promise<void> {
    for (const tensor of (this.record as PoisonRecorder).made) {
      const tail: Tensor = { ...tensor, offset: tensor.bytes, bytes: 4 * SENTINEL_WORDS };
      const words = new Uint32Array(await this.gpu.read(tail));
      if (words.some((w) => w !== SENTINEL))
        throw new GpuError(`A kernel wrote past the end of ${tensor.label} [${tensor.shape}]`);
    }
  }
}

type InputDType = "f32" | "f16" | "bf16" | "int8" | "nf4";

function quantizeTo(values: Float32Array, dtype: "int8" | "nf4") {
  if (dtype === "nf4") {
    const { codes, absmax } = quantizeNf4(values);
    return { codes, scales: absmax, rounded: Float64Array.from(dequantizeNf4(codes, absmax, values.length)) };
  }
  const [codes, scales] = [new Int8Array(values.length), new Float32Array(Math.ceil(values.length / 64))];
  encodeInt8(values, codes, scales);
  return { codes, scales, rounded: Float64Array.from(codes, (code, i) => code * scales[i >> 6]) };
}

/** The same rounded values on the GPU and on the CPU. */
export interface Input {
  tensor: Tensor;
  values: Float64Array;
}

/** Runs one case on an adapter. Throws GPU errors; returns wrong numbers with `ok` false. */
export async function runCase(gpu: Gpu, item: KernelCase): Promise<CaseResult> {
  const { kernel, name, tolerance } = item;
  if (item.needs && !gpu.features[item.needs]) {
    return {
      kernel,
      name,
      tolerance,
      worst: 0,
      what: "",
      ok: true,
      skipped: `${gpu.adapterName} has no ${item.needs}`,
    };
  }
  const check = new CaseRun(gpu, new PoisonRecorder(gpu), fnvText(`${kernel} ${name}`) >>> 0);
  try {
    item.run(check);
    const { worst, what } = await check.finish();
    return { kernel, name, tolerance, worst, what, ok: worst <= tolerance };
  } finally {
    check.free();
  }
}

/** Largest absolute difference over the largest expected entry. NaN if any value, actual or expected, is NaN. */
export function relativeError(got: ArrayLike<number>, want: ArrayLike<number>): number {
  if (got.length !== want.length) return Number.NaN;
  let scale = 0;
  let worst = 0;
  for (let i = 0; i < want.length; i++) {
    const difference = Math.abs(got[i] - want[i]);
    if (Number.isNaN(difference)) return Number.NaN;
    if (difference > worst) worst = difference;
    scale = Math.max(scale, Math.abs(want[i]));
  }
  return scale > 0 ? worst / scale : worst;
}

/**
 * Checks a reference's own gradient by central differences, in float64.
 *
 * @param f a scalar function of `x`
 * @param gradient the reference's df/dx
 * @param samples number of entries to check, spread over x
 * @returns the worst error, relative to the largest gradient entry
 */
export function gradientError(
  f: (x: Float64Array) => number,
  x: Float64Array,
  gradient: Float64Array,
  samples = 12,
): number {
  const scale = gradient.reduce((m, g) => Math.max(m, Math.abs(g)), 1e-12);
  let worst = 0;
  for (let n = 0; n < Math.min(samples, x.length); n++) {
    const i = Math.floor((n * x.length) / Math.min(samples, x.length));
    const step = 1e-5 * Math.max(1, Math.abs(x[i]));
    const at = (value: number) => {
      const moved = x.slice();
      moved[i] = value;
      return f(moved);
    };
    const slope = (at(x[i] + step) - at(x[i] - step)) / (2 * step);
    const error = Math.abs(slope - gradient[i]) / scale;
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

function roundTo(
  values: Float32Array,
  dtype: "f32" | "f16" | "bf16",
): { stored: Float32Array | Uint16Array; rounded: Float64Array } {
  if (dtype === "f32") return { stored: values, rounded: Float64Array.from(values) };
  const stored = new Uint16Array(values.length);
  const rounded = new Float64Array(values.length);
  const word = new Uint32Array(1);
  const float = new Float32Array(word.buffer);
  for (let i = 0; i < values.length; i++) {
    float[0] = values[i];
    if (dtype === "bf16") {
      stored[i] = word[0] >>> 16;
      word[0] = stored[i] << 16;
      rounded[i] = float[0];
    } else {
      // truncates the mantissa: test inputs need to be exact, not rounded
      const exponent = ((word[0] >>> 23) & 255) - 112;
      stored[i] = exponent <= 0 ? 0 : ((word[0] >>> 16) & 0x8000) | (exponent << 10) | ((word[0] >>> 13) & 0x3ff);
      word[0] = exponent <= 0 ? 0 : word[0] & 0xffffe000;
      rounded[i] = float[0];
    }
  }
  return { stored, rounded };
}
