import type { Stored, StoredMatrix } from "../../../shaders/lib/load.ts";
import { ShapeError } from "../../errors.ts";
import { isQuantized, type Tensor } from "../../gpu/tensor.ts";

/** The storage variant of a weight. @throws {ShapeError} a dtype that weights cannot have */
export function stored(weight: Tensor): Stored {
  if (weight.dtype === "f32" || weight.dtype === "f16" || weight.dtype === "bf16") return weight.dtype;
  throw new ShapeError(
    `Cannot read weight ${weight.label} [${weight.shape}] of dtype ${weight.dtype}: it must be f32, f16 or bf16`,
  );
}

/** The storage variant of a matrix that may be quantised. @throws {ShapeError} a dtype that weights cannot have */
export function storedMatrix(weight: Tensor): StoredMatrix {
  return isQuantized(weight.dtype) ? weight.dtype : stored(weight);
}
