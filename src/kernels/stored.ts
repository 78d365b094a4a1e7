import type { Stored } from "../../shaders/lib/load.ts";
import { ShapeError } from "../errors.ts";
import type { Tensor } from "../gpu/tensor.ts";

/** The storage variant of a weight. @throws {ShapeError} for a dtype that is no weight's */
export function stored(weight: Tensor): Stored {
  if (weight.dtype === "f32" || weight.dtype === "f16" || weight.dtype === "bf16") return weight.dtype;
  throw new ShapeError(
    `Cannot read weight ${weight.label} [${weight.shape}] of dtype ${weight.dtype}: f32, f16 or bf16`,
  );
}
