import {
  packColumns as columnsShader,
  PACKED_COLUMNS,
  packRows as shader,
} from "../../../shaders/matmul/pack-rows.wgsl.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";

/** Threads of a row: few of a head or a factor of LoRA, of which there are many. */
const workgroupOf = (width: number) => (width <= 256 ? 32 : 128);

/** Rows for matrix units. */
export interface PackedRows {
  /** `[rows, ld]` f16: k columns of a, those of a2, then zeros; each row times a power of two */
  packed: Tensor;
  /** `[rows]` f32: the inverse of each row's power of two */
  scales: Tensor;
}

interface PackOptions {
  rows: number;
  k: number;
  lda: number;
  aAt: number;
  ld: number;
  filled?: number;
  factors?: Tensor | null;
  rank?: number;
  place?: number;
}

/**
 * Rounds rows to f16, each scaled by a power of two so that nothing leaves f16's range: a row's largest value is then
 * between 2^14 and 2^15. Records one dispatch.
 *
 * @param a f32 or bf16; row r begins at element `aAt + r · lda`
 * @param a2 `[rows, width]` f32, appended to the rows, or null
 * @param rank columns of a2 that take `place` columns of a packed row, with zeros behind them. Default: all, with none
 * @param ld elements of a packed row: at least k + width with those zeros, a multiple of 8
 * @param filled rows that a has; the rest are zeros. Default: all
 * @param factors `[k]` f32, by which a's columns are multiplied first, or null
 * @see shaders/matmul/pack-rows.wgsl.ts, packRowsReference
 */
export function packRows(
  record: Recorder,
  a: Tensor,
  a2: Tensor | null,
  { rows, k, lda, aAt, ld, filled = rows, factors = null, rank = 1, place = rank }: PackOptions,
): PackedRows {
  const width = a2 ? a2.shape[1] : 0;
  const spread = a2 !== null && place !== rank;
  const packed = record.empty([rows, ld], "f16", `${a.label}.f16`, "scratch");
  const scales = record.empty([rows], "f32", `${a.label}.scales`, "scratch");
  const vector = [k, lda, aAt, width, ...(spread ? [rank, place] : [])].every((n) => n % 4 === 0);
  record.dispatch(
    shader,
    {
      a: a.dtype === "bf16" ? "bf16" : "f32",
      low: a2 !== null,
      spread,
      factors: factors !== null,
      vector,
      workgroup: workgroupOf(ld),
    },
    { a, packed, scales, ...(a2 && { a2 }), ...(factors && { factors }) },
    { rows, filled, k, lda, aAt, width, rank, place, ld },
    rows,
    rows * (k + width),
  );
  return { packed, scales };
}

/**
 * The same of the columns of a: its transpose. Records one dispatch.
 *
 * @param a `[k, lda]` f32 or bf16; columns begin at element aAt
 * @param factors `[k]` f32, by which a's rows are multiplied first
 * @param ld elements of a packed row: at least k, a multiple of 8
 * @returns `[m, ld]` f16, and scales `[m]`
 */
export function packColumns(
  record: Recorder,
  a: Tensor,
  factors: Tensor,
  { m, k, lda, aAt, ld }: { m: number; k: number; lda: number; aAt: number; ld: number },
): PackedRows {
  const packed = record.empty([m, ld], "f16", `${a.label}.columns.f16`, "scratch");
  const scales = record.empty([m], "f32", `${a.label}.scales`, "scratch");
  record.dispatch(
    columnsShader,
    { a: a.dtype === "bf16" ? "bf16" : "f32" },
    { a, factors, packed, scales },
    { m, k, lda, aAt, ld },
    Math.ceil(m / PACKED_COLUMNS),
    m * k,
  );
  return { packed, scales };
}

/**
 * The scaled rows in float64, without the rounding to f16.
 *
 * @param row one row of `[a | a2]`
 */
export function packRowReference(row: ArrayLike<number>): { values: Float64Array; scale: number } {
  const values = Float64Array.from(row);
  const peak = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const scale = peak === 0 || !Number.isFinite(peak) ? 1 : 2 ** (14 - Math.floor(Math.log2(peak)));
  return { values: values.map((value) => value * scale), scale };
}
