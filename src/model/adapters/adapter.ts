import type { AdapterConfig } from "../../io/peft.ts";
import type { LinearGrads } from "../../kernels/matmul/linear.ts";
import type { loraLinear } from "../../kernels/matmul/lora-linear.ts";
import type { loraLinearBackward } from "../../kernels/matmul/lora-linear-backward.ts";
import type { ModelConfig } from "../architectures/architecture.ts";
import type { ParameterSpec } from "../parameters.ts";
import type { Target } from "./targets.ts";

/** A matrix of an adapter: which linear layer it is for, and what it is. */
export interface AdapterMatrix extends ParameterSpec {
  part: keyof LinearGrads;
}

/** Reads a tensor of an adapter, widened to f32. */
type ReadTensor = (name: string) => Promise<Float32Array>;

/** Adds an adapter to rows `[row, row + rows)` of a module's weight, in place. */
export type MergeRows = (weight: Float32Array, row: number) => void;

/** A kind of adapter: all that Qwench knows of it. */
export interface AdapterKind<Config> {
  /** PEFT's name */
  peft_type: string;
  /** The linear layers of a model that it is on, in order. */
  targets(model: ModelConfig, config: Config): Target[];
  /** What is trained for one linear layer, under PEFT's names. */
  parameters(target: Target): AdapterMatrix[];
  /**
   * Starting values of a parameter, so that the model's output does not change.
   *
   * @param random uniform in [0, 1)
   */
  initial(parameter: ParameterSpec, random: () => number): Float32Array;
  /** `y` of linear layers with their adapter, and the way back: see the kernels that they are. */
  forward: typeof loraLinear;
  backward: typeof loraLinearBackward;
  /** Opens what it takes to merge one linear layer. */
  merge(target: Target, read: ReadTensor): Promise<MergeRows>;
  /** The adapter_config.json that PEFT reads. @param base path or hub id of the base model */
  toPeft(config: Config, base: string): AdapterConfig;
  fromPeft(config: AdapterConfig): Config;
}
