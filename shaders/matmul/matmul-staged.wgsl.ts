import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { ownLets, productHeader, readsF16 } from "./lib/header.ts";
import { stagedDeclarations, stagedLoop, stagedLow } from "./lib/staged.ts";
import { columnLets, maskSums, rowLets, storeTile, sumVars } from "./lib/thread-tile.ts";
import type { MatmulVariant } from "./lib/variant.ts";

// matmul_staged: c = alpha * (a @ b [+ a2 @ b2]) [+ bias] [+ c], both operands through workgroup memory, for GPUs
//
// Grid     as matmul
// Shapes   as matmul
// Writes   c by assignment, or += with `accumulate`
// Hazard   c is distinct from every other buffer
// Numbers  same order and bits as matmul, except for tiles that compute in f16, see MatmulTile
export const matmulStaged = (v: MatmulVariant) => {
  const { rows, cols, lanes, groups } = v.tile;
  return wgsl`
#if ${readsF16(v) || v.tile.compute === "f16"}
enable f16;
#endif

${productHeader(v)}
${v.pairs === "none" ? "" : columnFunction(v)}
${stagedDeclarations(v)}

@compute @workgroup_size(${lanes}, ${groups})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  ${ownLets(v, cols * lanes)}
  let tileRow = group.x * ${rows * groups}u;
  ${sumVars(v)}
  ${v.extra ? stagedLow(v) : ""}
  ${v.dropout === "extra" ? `{ ${rowLets(v)} ${columnLets(v)} ${maskSums(v)} }` : ""}
  ${stagedLoop(v)}
  ${rowLets(v)}
  ${columnLets(v)}
  ${storeTile(v)}
}
`;
};

/**
 * `column`: output column of a tile's column. The tile's first half has the first of each pair, its second half the
 * second.
 */
function columnFunction({ tile: { cols, lanes }, pairs, half }: MatmulVariant): string {
  return `
fn column(tileCol: u32, index: u32, n: u32) -> u32 {
  let u = tileCol / 2u + index % ${(cols * lanes) / 2}u;
  if (u >= n / 2u) { return n; }
  let first = ${pairs === "swiglu" ? "u" : `u + u / ${half}u * ${half}u`};
  return first + select(0u, ${pairs === "swiglu" ? "n / 2u" : `${half}u`}, index >= ${(cols * lanes) / 2}u);
}`;
}
