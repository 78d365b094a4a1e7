import { FormatError } from "../errors.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { byteLength, sizeOf, type Tensor, view } from "../gpu/tensor.ts";
import { adafactor, factorsOf } from "../kernels/optimizer/adafactor.ts";
import { type AdamWOptions, adamw } from "../kernels/optimizer/adamw.ts";
import { adamw8bit } from "../kernels/optimizer/adamw-8bit.ts";
import { gradNorm } from "../kernels/optimizer/grad-norm.ts";
import { lion } from "../kernels/optimizer/lion.ts";
import { muon } from "../kernels/optimizer/muon.ts";
import { sgd } from "../kernels/optimizer/sgd.ts";
import type { ParameterRange, ParameterStore } from "../model/parameters.ts";
import { muonSettings, type OptimArgs } from "../recipe/optim-args.ts";

/** Fields of a recipe that the optimizer reads, by TRL's names. */
export interface OptimizerOptions {
  optim: keyof typeof RULES;
  adam_beta1: number;
  adam_beta2: number;
  adam_epsilon: number;
  weight_decay: number;
  /** settings of the optimizer by their names; absent or null: its defaults */
  optim_args?: OptimArgs | null;
}

type State = Readonly<Record<string, Tensor>>;

/** The update of a range of parameters: its state, and one dispatch. */
interface Rule {
  /** the state tensors of `size` parameters, by name; `shape` is that of one parameter */
  state(size: number, shape: readonly number[]): Record<string, { size: number; dtype: "f32" | "u8" }>;
  update(
    record: Recorder,
    at: { param: Tensor; grad: Tensor },
    state: State,
    norm: Tensor,
    options: AdamWOptions,
  ): void;
}

const ADAMW: Rule = {
  state: (size) => ({ exp_avg: { size, dtype: "f32" }, exp_avg_sq: { size, dtype: "f32" } }),
  update(record, at, { exp_avg, exp_avg_sq }, norm, options) {
    adamw(record, { ...at, exp_avg, exp_avg_sq }, norm, options);
  },
};

const ADAMW_8BIT: Rule = {
  state: (size) => ({
    exp_avg_q: { size, dtype: "u8" },
    exp_avg_sq_q: { size, dtype: "u8" },
    absmax1: { size: size / 256, dtype: "f32" },
    absmax2: { size: size / 256, dtype: "f32" },
  }),
  update(record, at, { exp_avg_q, exp_avg_sq_q, absmax1, absmax2 }, norm, options) {
    adamw8bit(record, { ...at, exp_avg_q, exp_avg_sq_q, absmax1, absmax2 }, norm, options);
  },
};

const LION: Rule = {
  state: (size) => ({ exp_avg: { size, dtype: "f32" } }),
  update(record, at, { exp_avg }, norm, options) {
    lion(record, { ...at, exp_avg }, norm, options);
  },
};

const SGD: Rule = {
  state: () => ({}),
  update(record, at, _state, norm, options) {
    sgd(record, at, norm, options);
  },
};

const ADAFACTOR: Rule = {
  state(size, shape): Record<string, { size: number; dtype: "f32" }> {
    const factors = factorsOf(shape);
    if (!factors) return { exp_avg_sq: { size, dtype: "f32" } };
    const { rows, columns } = factors;
    return { exp_avg_sq_row: { size: rows, dtype: "f32" }, exp_avg_sq_col: { size: columns, dtype: "f32" } };
  },
  update(record, at, { exp_avg_sq, exp_avg_sq_row, exp_avg_sq_col }, norm, options) {
    adafactor(record, { ...at, row: exp_avg_sq ?? exp_avg_sq_row, column: exp_avg_sq_col ?? null }, norm, options);
  },
};

const muonOf = (args: OptimArgs | null): Rule => {
  const settings = muonSettings(args);
  return {
    state: (size) => ({ momentum_buffer: { size, dtype: "f32" } }),
    update(record, at, { momentum_buffer }, norm, options) {
      const moment = view(momentum_buffer, at.param.shape, 0);
      muon(record, { ...at, momentum_buffer: moment }, norm, options, settings);
    },
  };
};

/** The update rule of each optimizer. */
const RULES = {
  adamw_torch: () => ADAMW,
  adamw_8bit: ({ large }) => (large ? ADAMW_8BIT : ADAMW),
  lion_32bit: () => LION,
  sgd: () => SGD,
  adafactor: () => ADAFACTOR,
  muon: ({ hidden }, args) => (hidden ? muonOf(args) : ADAMW),
} as const satisfies Record<string, (range: Unit, args: OptimArgs | null) => Rule>;

/** Optimizers whose update of a parameter depends on its shape. */
const BY_PARAMETER: readonly OptimizerOptions["optim"][] = ["adafactor", "muon"];

/** What is updated together: a range of parameters, or one parameter with its shape. */
interface Unit extends ParameterRange {
  shape: readonly number[];
  hidden?: boolean;
}

function unitsOf({ ranges, parameters }: ParameterStore, optim: OptimizerOptions["optim"]): Unit[] {
  if (BY_PARAMETER.includes(optim)) return parameters.map((parameter) => ({ ...parameter, large: false }));
  return ranges.map((range) => ({ ...range, shape: [range.size] }));
}

/** The optimizer over all parameters: one dispatch per range of parameters with the same settings, or some per parameter. */
export class Optimizer {
  private readonly store: ParameterStore;
  private readonly options: OptimizerOptions;
  private readonly ranges: { range: Unit; rule: Rule; state: State }[];

  constructor(gpu: Gpu, store: ParameterStore, options: OptimizerOptions) {
    this.store = store;
    this.options = options;
    this.ranges = unitsOf(store, options.optim).map((range, i) => {
      const rule: Rule = RULES[options.optim](range, options.optim_args ?? null);
      const state = Object.fromEntries(
        Object.entries(rule.state(range.size, range.shape)).map(([name, { size, dtype }]) => [
          name,
          gpu.persistent([size], dtype, `${name}.${i}`, "optimizer"),
        ]),
      );
      return { range, rule, state };
    });
  }

  /**
   * Records one update of all parameters.
   *
   * @param norm `[2]` of gradNorm: if it is not finite, nothing changes
   * @param step number of this update, from 1
   */
  update(record: Recorder, norm: Tensor, learning_rate: number, step: number): void {
    const { adam_beta1: beta1, adam_beta2: beta2, adam_epsilon: epsilon, weight_decay } = this.options;
    for (const { range, rule, state } of this.ranges) {
      const options = { learning_rate, beta1, beta2, epsilon, weight_decay: range.decay ? weight_decay : 0, step };
      const { values, grads } = this.store.shards[range.shard];
      const param = view(values, range.shape, range.start);
      const grad = view(grads, range.shape, range.start);
      rule.update(record, { param, grad }, state, norm, options);
    }
  }

  /** Every state tensor by name, for a checkpoint and `load`. */
  tensors(): Map<string, Tensor> {
    return new Map(
      this.ranges.flatMap(({ state }, i) =>
        Object.entries(state).map(([name, tensor]) => [`${name}.${i}`, tensor] as const),
      ),
    );
  }

  /** Restores saved state. @throws {FormatError} state of another optimizer or of other parameters */
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
        `Cannot resume from ${where}: it has optimizer state ${found}, but this run needs ${[...own.keys()].sort()}`,
      );
    }
    for (const [name, tensor] of own) {
      const bytes = await read(name);
      const want = byteLength(sizeOf(tensor.shape), tensor.dtype);
      if (bytes.length !== want)
        throw new FormatError(
          `Cannot resume from ${where}: ${name} has ${bytes.length} bytes, but this run needs ${want}`,
        );
      gpu.write(tensor, bytes);
    }
  }
}

/**
 * Ends an optimizer step after its gradients are recorded: clips, updates, submits.
 *
 * @param step from 0
 * @returns `[norm before clipping, factor]` as f32, once the GPU has run the step
 */
export function update(
  record: Recorder,
  store: ParameterStore,
  optimizer: Optimizer,
  { step, learning_rate, max_grad_norm }: { step: number; learning_rate: number; max_grad_norm: number },
): Promise<ArrayBuffer> {
  const read = record.scope(() => {
    const norm = gradNorm(
      record,
      store.shards.map(({ grads }) => grads),
      max_grad_norm,
    );
    optimizer.update(record, norm, learning_rate, step + 1);
    return record.read(norm);
  });
  record.submit();
  record.gpu.endStep();
  return read;
}
