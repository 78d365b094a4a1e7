import type { AdapterConfig } from "../../io/peft.ts";
import type { LinearGrads } from "../../kernels/matmul/linear.ts";
import type { loraLinear } from "../../kernels/matmul/lora-linear.ts";
import type { loraLinearBackward } from "../../kernels/matmul/lora-linear-backward.ts";
import type { ModelConfig } from "../architectures/architecture.ts";
import type { ParameterSpec } from "../parameters.ts";
import type { Target } from "./targets.ts";

/** A matrix of an adapter, with the linear layer that it belongs to. */
export interface AdapterMatrix extends ParameterSpec {
  part: keyof LinearGrads;
}

/** Reads a tensor of an adapter, widened to f32. */
type ReadTensor = (name: string) => Promise<Float32Array>;

/** Adds an adapter to rows `[row, row + rows)` of a module's weight, in place. */
export type MergeRows = (weight: Float32Array, row: number) => void;

/** Values of PEFT's `init_lora_weights` that do not change the base weights. */
export type AdapterInit = "true" | "gaussian" | "orthogonal" | "false";

/** A kind of adapter: everything that Qwench knows about it. */
export interface AdapterKind<Config> {
  /** PEFT's name */
  peft_type: string;
  /** The linear layers of a model that the adapter changes, in order. */
  targets(model: ModelConfig, config: Config): Target[];
  /** The trained parameters of one linear layer, under PEFT's names. */
  parameters(target: Target): AdapterMatrix[];
  /**
   * Returns a function that gives each parameter's initial values, one after another. They leave the model's output
   * unchanged, unless `init` is "false".
   *
   * @param random uniform in [0, 1)
   */
  starter(init: AdapterInit, random: () => number): (parameter: ParameterSpec) => Float32Array;
  /** Forward and backward pass of linear layers with their adapter: see the kernels. */
  forward: typeof loraLinear;
  backward: typeof loraLinearBackward;
  /** Reads the matrices that merging one linear layer needs. */
  merge(target: Target, read: ReadTensor): Promise<MergeRows>;
  /** The adapter_config.json that PEFT reads. @param base path or hub id of the base model */
  toPeft(config: Config, base: string): AdapterConfig;
  fromPeft(config: AdapterConfig): Config;
}
