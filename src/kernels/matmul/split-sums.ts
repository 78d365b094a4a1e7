import { matmulSplits } from "../../../shaders/matmul/matmul-splits.wgsl.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { threadGrid, WORKGROUP } from "../grid.ts";
import { gpuTiles, matrixTiles, usesMatrices } from "./gpu-tiles.ts";
import { fitsMatrices } from "./matrix-product.ts";
import type { Product } from "./product-spec.ts";
import { tileGrid } from "./tile-shapes.ts";

// A GPU with few outputs to compute and a long sum for each splits the sum: the head's gradient of a chunk of rows, LoRA's
// gradients of one matrix. How depends on the product's sizes alone, so that no bit of a result depends on what was measured.

/** Workgroups that a split product comes to, and below which it is split. */
const WORKGROUPS = 256;
const FEW = 128;
/** Steps that a part has at least, and that all parts but the last are a multiple of. */
const LEAST = 256;
const ALIGN = 64;
/** Bytes that the parts' sums may take. */
const MOST_BYTES = 32 << 20;

/** Steps of a part, and how many parts there are. */
interface Split {
  steps: number;
  count: number;
}

/** How the sums of a product are split on this adapter; null where they are not. */
export function splitOf({ gpu }: Pick<Recorder, "gpu">, product: Product): Split | null {
  const { transA, transB, parts, low, bias, dropout, epilogue, tile } = product;
  if (product.split) return null; // of a product that is split already
  if (gpu.profile.tiles !== "staged" || tile || parts.length > 1) return null;
  if (low || bias || epilogue || dropout?.on === "extra" || (transB && !transA)) return null;
  const [{ m, n, k }] = parts;
  return splitFor(m, n, k);
}

/** A product's parts one by one, where each has few outputs and a long sum: LoRA's gradients. Null for other products. */
export function splitParts(record: Pick<Recorder, "gpu">, product: Product): Product[] | null {
  const { parts, low, bias, epilogue } = product;
  if (parts.length < 2 || low || bias || epilogue || record.gpu.profile.tiles !== "staged") return null;
  const alone = parts.map((part) => ({ ...product, parts: [part] }));
  return alone.every((one) => splitOf(record, one)) ? alone : null;
}

/** The split of a sum of k steps for each of m × n outputs; null where there are outputs enough, or steps too few. */
export function splitFor(m: number, n: number, k: number): Split | null {
  const workgroups = Math.ceil(m / 64) * Math.ceil(n / 64);
  if (workgroups >= FEW) return null;
  const most = Math.min(Math.floor(k / LEAST), Math.floor(MOST_BYTES / (4 * m * n)));
  const wanted = Math.min(Math.ceil(WORKGROUPS / workgroups), most);
  if (wanted < 2) return null;
  const steps = ALIGN * Math.ceil(k / wanted / ALIGN);
  return { steps, count: Math.ceil(k / steps) };
}

/** Records a product whose sums are split: the parts in one dispatch, and another that adds them up. */
export function recordSplit(
  record: Recorder,
  product: Product,
  split: Split,
  recordWhole: (record: Recorder, product: Product) => void,
): void {
  const { c, parts, transB, rowStride, colStride, alpha = 1, accumulate = false } = product;
  const [{ m, n, cAt = 0 }] = parts;
  const tiles =
    usesMatrices(record.gpu) && fitsMatrices(product, "f16")
      ? matrixTiles(record.gpu)
      : gpuTiles(record.gpu, transB).filter(({ stage, matrix }) => stage > 0 && !matrix);
  const workgroups = (of: (typeof tiles)[number]) => split.count * tileGrid(of, m, n).reduce((x, y) => x * y);
  const most = Math.min(WORKGROUPS, Math.max(...tiles.map(workgroups)));
  const partial = record.empty([split.count, m, n], "f32", `${c.label}.splits`, "scratch");
  recordWhole(record, {
    ...product,
    c: partial,
    rowStride: n,
    colStride: 1,
    parts: [{ ...parts[0], cAt: 0 }],
    alpha: 1,
    accumulate: false,
    split,
    tile: product.tile ?? tiles.find((tile) => workgroups(tile) >= most),
  });
  record.dispatch(
    matmulSplits,
    { accumulate, workgroup: WORKGROUP },
    { partial, c },
    { count: m * n, splits: split.count, n, rowStride, colStride, cAt, alpha },
    threadGrid(m * n),
  );
  record.release(partial);
}
