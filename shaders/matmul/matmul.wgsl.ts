import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { ownLets, ownOf, productHeader, readsF16 } from "./lib/header.ts";
import { directLoop, extraLoops, MAIN, range } from "./lib/loops.ts";
import { columnLets, lowLets, maskSums, rowLets, storeTile, sumVars } from "./lib/thread-tile.ts";
import type { MatmulTile, MatmulVariant } from "./lib/variant.ts";

// matmul: c = alpha * (a @ b [+ a2 @ b2]) [+ bias] [+ c], for several products at once; reads operands directly from
// memory
//
// Grid     x: tiles of rows, so that neighbours share the columns' weights in cache; y: tiles of columns, part after part
// Shapes   a [m, k] or [k, m]   b [k, n] or [n, k]   a2 [m, r] with rows of lda2   b2 [r, n] or [n, r]   bias [n]
//          c [m, n] at (rowStride, colStride), with swiglu [m, n / 2]   positions [m]   table [P, 2 half]: cosines, then sines
// Writes   c by assignment, or += with `accumulate`
// Hazard   c is distinct from every other buffer
// Numbers  sums are f32 for every storage type; bf16 is widened exactly
export const matmul = (v: MatmulVariant) => {
  const { rows, cols, lanes, groups, broadcast, walk = 1 } = v.tile;
  return wgsl`
#if ${readsF16(v)}
enable f16;
#endif
#if ${broadcast > 0}
enable subgroups;
#endif

${productHeader(v)}

@compute @workgroup_size(${lanes}, ${groups})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) thread: u32,
#if ${broadcast > 0}
  @builtin(subgroup_invocation_id) lane: u32,
#endif
) {
  ${ownLets(v, cols * lanes * walk)}
  ${v.extra && v.pairs !== "swiglu" ? lowLets(ownOf(v)) : ""}
#if ${v.stripsB}
  let bRow = bAt / params.ldb;
#endif
  let tileRow = group.x * ${rows * groups}u;
  ${rowLets(v)}
  ${sharedRows(v.tile)}
  ${walk > 1 ? `for (var turn = 0u; turn < ${walk}u; turn++) {` : ""}
  ${columnLets(v)}
  ${sumVars(v)}
  ${v.extra ? extraLoops(v).join("\n  ") : ""}
  ${v.dropout === "extra" ? maskSums(v) : ""}
  ${directLoop(v, { ...MAIN, transA: v.transA }, v.tile.steps ?? 4, v.tail)}
  ${storeTile(v)}
  ${walk > 1 ? "}" : ""}
}
`;
};

/** `own{g}`: the rows that a lane loads, if lanes share loads. */
function sharedRows({ rows, broadcast }: MatmulTile): string {
  return range(broadcast === 0 ? 0 : Math.ceil(rows / broadcast))
    .map((g) => {
      const row = rows < broadcast ? `lane / ${broadcast / rows}u` : `${g * broadcast}u + lane`;
      return `let own${g} = min(tileRow + ${row}, params.m - 1u);`;
    })
    .join("\n  ");
}
