import { PART_FIELDS } from "../../../shaders/matmul/lib/header.ts";
import { codeBytes, sizeOf } from "../../gpu/tensor.ts";
import type { Low, Product } from "./product-spec.ts";

/** Names of the parts' own fields. */
const OWN = [0, 1, 2].map((part) => PART_FIELDS.map((field) => `${field}${part}`));

/** Parameters of a product's dispatch. @param count number of parts in the kernel's fields */
export function paramsOf(product: Product, count: number, lows: readonly Partial<Low>[]): Record<string, number> {
  const { b, lda, ldb, rowStride, colStride, parts, low, dropout } = product;
  const params: Record<string, number> = {
    m: parts[0].m,
    lda,
    ldb,
    lda2: low?.lda2 ?? 0,
    rowStride,
    colStride,
    alpha: product.alpha ?? 1,
    dropout: dropout?.p ?? 0,
    dropCols: dropout?.cols ?? 0,
    dropRow: dropout?.row ?? 0,
    bScales: codeBytes(sizeOf(b.shape), b.dtype) / 4,
  };
  if (product.split) {
    params.splitSteps = product.split.steps;
    params.splitStride = parts[0].m * parts[0].n;
  }
  for (let i = 0; i < count; i++) {
    const [part, own, names] = [parts[i], lows[i], OWN[i]]; // in the order of PART_FIELDS
    params[names[0]] = part?.n ?? 0;
    params[names[1]] = part?.k ?? 0;
    params[names[2]] = own?.r ?? 0;
    params[names[3]] = part?.seed ?? 0;
    params[names[4]] = part?.aAt ?? 0;
    params[names[5]] = part?.bAt ?? 0;
    params[names[6]] = part?.cAt ?? 0;
    params[names[7]] = own?.a2At ?? 0;
    params[names[8]] = own?.b2At ?? 0;
    params[names[9]] = part?.biasAt ?? 0;
  }
  return params;
}
