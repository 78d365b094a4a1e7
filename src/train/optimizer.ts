import { FormatError } from "../errors.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { byteLength, sizeOf, type Tensor, view } from "../gpu/tensor.ts";
import { adamw } from "../kernels/optimizer/adamw.ts";
import { adamw8bit } from "../kernels/optimizer/adamw-8bit.ts";
import type { ParameterRange, ParameterStore } from "../model/parameters.ts";

/** Fields of a recipe that the optimizer reads, by TRL's names. */
export interface OptimizerOptions {
  optim: "adamw_torch" | "adamw_8bit";
  adam_beta1: number;
  adam_beta2: number;
  adam_epsilon: number;
  weight_decay: number;
}

/** AdamW over the mega-buffer: a dispatch for each range of parameters that are treated alike. */
export class Optimizer {
  private readonly store: ParameterStore;
  private readonly options: OptimizerOptions;
  private readonly ranges: { range: ParameterRange; state: Record<string, Tensor> }[];

  constructor(gpu: Gpu, store: ParameterStore, options: OptimizerOptions) {
    this.store = store;
    this.options = options;
    this.ranges = store.ranges.map((range, i) => {
      const make = (name: string, size: number, dtype: "f32" | "u8") =>
        gpu.persistent([size], dtype, `${name}.${i}`, "optimizer");
      const { size } = range;
      const state: Record<string, Tensor> =
        options.optim === "adamw_8bit" && range.large
          ? {
              exp_avg_q: make("exp_avg_q", size, "u8"),
              exp_avg_sq_q: make("exp_avg_sq_q", size, "u8"),
              absmax1: make("absmax1", size / 256, "f32"),
              absmax2: make("absmax2", size / 256, "f32"),
            }
          : { exp_avg: make("exp_avg", size, "f32"), exp_avg_sq: make("exp_avg_sq", size, "f32") };
      return { range, state };
    });
  }

  /**
   * Records one update of all parameters.
   *
   * @param norm `[2]` of gradNorm: where it is not finite nothing changes
   * @param step number of this update, from 1
   */
  update(record: Recorder, norm: Tensor, learning_rate: number, step: number): void {
    const { adam_beta1: beta1, adam_beta2: beta2, adam_epsilon: epsilon, weight_decay } = this.options;
    for (const { range, state } of this.ranges) {
      const options = { learning_rate, beta1, beta2, epsilon, weight_decay: range.decay ? weight_decay : 0, step };
      const param = view(this.store.values, [range.size], range.start);
      const grad = view(this.store.grads, [range.size], range.start);
      if (state.exp_avg_q) {
        const { exp_avg_q, exp_avg_sq_q, absmax1, absmax2 } = state;
        adamw8bit(record, { param, grad, exp_avg_q, exp_avg_sq_q, absmax1, absmax2 }, norm, options);
      } else {
        adamw(record, { param, grad, exp_avg: state.exp_avg, exp_avg_sq: state.exp_avg_sq }, norm, options);
      }
    }
  }

  /** Every state tensor by name: what a checkpoint saves and `load` takes back. */
  tensors(): Map<string, Tensor> {
    return new Map(
      this.ranges.flatMap(({ state }, i) =>
        Object.entries(state).map(([name, tensor]) => [`${name}.${i}`, tensor] as const),
      ),
    );
  }

  /** Puts saved state back. @throws {FormatError} state of another optimizer or of other parameters */
  async load(
    gpu: Gpu,
    where: string,
    names: Iterable<string>,
    read: (name: string) => Promise<Uint8Array>,
  ): Promise<void> {
    const own = this.tensors();
    const found = [...names].sort().join();
    if (found !== [...own.keys()].sort().join()) {
      throw new FormatError(
        `Cannot resume from ${where}: it holds optimizer state ${found}, this run needs ${[...own.keys()].sort()}`,
      );
    }
    for (const [name, tensor] of own) {
      const bytes = await read(name);
      const want = byteLength(sizeOf(tensor.shape), tensor.dtype);
      if (bytes.length !== want)
        throw new FormatError(`Cannot resume from ${where}: ${name} has ${bytes.length} bytes, this run needs ${want}`);
      gpu.write(tensor, bytes);
    }
  }
}
