import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { sigmoid } from "../lib/sigmoid.ts";
import { ownLets, ownOf, productHeader, readsF16 } from "./lib/header.ts";
import { directLoop, extraLoops, range } from "./lib/loops.ts";
import { stagedDeclarations, stagedLoop } from "./lib/staged.ts";
import type { MatmulVariant } from "./lib/variant.ts";

// matmul: c = alpha * (a @ b [+ a2 @ b2]) [+ bias] [+ c], for several such products at once
//
// Grid     x: tiles of rows, so that neighbours share the columns' weights in cache; y: tiles of columns, part after part
// Shapes   a [m, k] or [k, m]   b [k, n] or [n, k]   a2 [m, r] of rows of lda2   b2 [r, n] or [n, r]   bias [n]
//          c [m, n] at (rowStride, colStride), with swiglu [m, n / 2]   positions [m]   table [P, 2 half]: cosines, then sines
// Writes   c by assignment, or += with `accumulate`
// Hazard   c is distinct from every other buffer
// Numbers  sums are f32 whatever is stored; bf16 is widened exactly
export const matmul = (v: MatmulVariant) => {
  const { rows, cols, lanes, groups, stage, broadcast, walk = 1 } = v.tile;
  /** where entry j of a thread lies, counted in columns from the tile's first */
  const place = (j: number) => {
    if (v.transB) return walk > 1 ? `(local.x + ${j * lanes}u) * ${walk}u + turn` : `local.x + ${j * lanes}u`;
    const at = walk > 1 ? `turn * ${cols * lanes}u + ` : "";
    if (v.eightB) return `${at}(local.x + ${(j >> 1) * lanes}u) * 8u + ${(j % 2) * 4}u`;
    return `${at}(local.x + ${j * lanes}u) * 4u`;
  };
  const paired = v.pairs !== "none";
  const own = ownOf(v);
  const colsPerEntry = v.transB ? 1 : 4; // accumulators hold single columns, or four neighbours
  const accumulators = range(rows).flatMap((i) => range(cols / colsPerEntry).map((j) => [i, j] as const));
  const entry = v.transB ? "f32" : "vec4f";
  const wideC = v.vecC && !v.transB;
  const store = (i: number, j: number) => {
    if (wideC) {
      return `if (j${j} < n) {
      let at = (cAt + i * params.rowStride + j${j}) / 4u;
      c[at] = ${v.accumulate ? "c[at] + " : ""}params.alpha * acc${i}_${j}${v.bias === "none" ? "" : ` + bias${j}`};
    }`;
    }
    return range(colsPerEntry)
      .map(
        (e) => `if (j${j} + ${e}u < n) {
      let at = cAt + i * params.rowStride + (j${j} + ${e}u) * params.colStride;
      c[at] = ${v.accumulate ? "c[at] + " : ""}params.alpha * acc${i}_${j}${v.transB ? "" : `[${e}]`}${v.bias === "none" ? "" : ` + bias${j}${v.transB ? "" : `[${e}]`}`};
    }`,
      )
      .join("\n    ");
  };
  /** stores columns u and u + half of a row, which the thread holds in entries j and j + cols / 2 */
  const storePair = (i: number, j: number) => {
    const value = (entry: number) => `params.alpha * acc${i}_${entry}${v.bias === "none" ? "" : ` + bias${entry}`}`;
    const [first, second] = [j, j + cols / 2];
    const body =
      v.pairs === "swiglu"
        ? `let g = ${value(first)};
      c[cAt + i * params.rowStride + u${j}] = g * ${sigmoid("f32")} * (${value(second)});`
        : `let x = ${value(first)};
      let y = ${value(second)};
      let angle = positions[i] * ${2 * v.half}u + angle${j};
      let cosine = select(1.0, table[angle], part < 2u);
      let sine = select(0.0, table[angle + ${v.half}u], part < 2u);
      let at = cAt + i * params.rowStride;
      c[at + col${first}] = x * cosine - y * sine;
      c[at + col${second}] = y * cosine + x * sine;`;
    return `if (tileCol / 2u + ${place(j)} < n / 2u) {
      ${body}
    }`;
  };
  const mask = (i: number, j: number) =>
    v.transB ? `acc${i}_${j} *= keep1(row${i}, col${j});` : `acc${i}_${j} *= keep4(row${i}, col${j});`;
  return wgsl`
#if ${readsF16(v) || v.tile.compute === "f16"}
enable f16;
#endif
#if ${broadcast > 0}
enable subgroups;
#endif

${productHeader(v)}
#if ${stage > 0 && paired}
// where the tile's column lies: its first half holds the first of each pair, its second half the second
fn column(tileCol: u32, index: u32, n: u32) -> u32 {
  let u = tileCol / 2u + index % ${(cols * lanes) / 2}u;
  if (u >= n / 2u) { return n; }
  let first = ${v.pairs === "swiglu" ? "u" : `u + u / ${v.half}u * ${v.half}u`};
  return first + select(0u, ${v.pairs === "swiglu" ? "n / 2u" : `${v.half}u`}, index >= ${(cols * lanes) / 2}u);
}
#endif
${stage > 0 ? stagedDeclarations(v) : ""}

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
#if ${v.extra && v.pairs !== "swiglu"}
  let r = ${own("r")};
  let a2At = ${own("a2At")};
  let b2At = ${own("b2At")};
#endif
#if ${v.stripsB}
  let bRow = bAt / params.ldb;
#endif
  let tileRow = group.x * ${rows * groups}u;
  // Past the edge a thread works on the last rows and columns again and stores nothing.
  ${range(rows)
    .map((i) => {
      const last = v.transA && i === 0 ? "(params.m - 1u) / 4u * 4u" : "params.m - 1u"; // row0 is where vec4 loads begin
      return `let row${i} = min(tileRow + ${groups === 1 ? "" : `local.y * ${rows}u + `}${i}u, ${last});`;
    })
    .join("\n  ")}
  ${
    broadcast === 0
      ? ""
      : range(Math.ceil(rows / broadcast))
          .map((g) => {
            const row = rows < broadcast ? `lane / ${broadcast / rows}u` : `${g * broadcast}u + lane`;
            return `let own${g} = min(tileRow + ${row}, params.m - 1u); // the rows that a lane loads`;
          })
          .join("\n  ")
  }
  ${walk > 1 ? `for (var turn = 0u; turn < ${walk}u; turn++) {` : ""}
  ${range(cols / colsPerEntry)
    .map((j) => {
      if (!v.transB) return `let col${j} = min(tileCol + ${place(j)}, (n - 1u) / 4u * 4u);`;
      if (!paired) return `let col${j} = min(tileCol + ${place(j)}, n - 1u);`;
      const first = j - cols / 2;
      if (first >= 0) return `let col${j} = col${first} + ${v.pairs === "swiglu" ? "n / 2u" : `${v.half}u`};`;
      const u = `let u${j} = min(tileCol / 2u + ${place(j)}, n / 2u - 1u);`;
      return `${u} let col${j} = ${v.pairs === "swiglu" ? `u${j}` : `u${j} + u${j} / ${v.half}u * ${v.half}u`};`;
    })
    .join("\n  ")}
  ${accumulators.map(([i, j]) => `var acc${i}_${j} = ${entry}();`).join("\n  ")}
#if ${v.extra}
  ${v.extra ? extraLoops(v).join("\n  ") : ""}
#endif
#if ${v.dropout === "extra"}
  ${v.dropout === "extra" ? accumulators.map(([i, j]) => mask(i, j)).join("\n  ") : ""}
#endif
  ${stage > 0 ? stagedLoop(v) : directLoop(v, { a: "a", b: "b", lda: "params.lda", ldb: "params.ldb", aAt: "aAt", bAt: "bAt", k: "k", transA: v.transA }, v.tile.steps ?? 4, v.tail)}
  ${range(paired ? 0 : cols / colsPerEntry)
    .map((j) => `let j${j} = tileCol + ${place(j)};`)
    .join("\n  ")}
  ${range(v.bias === "none" ? 0 : cols / colsPerEntry)
    .map((j) => `let bias${j} = biasAt${colsPerEntry}(biasAt + col${j});`)
    .join("\n  ")}
  ${range(v.pairs === "rotary" ? cols / 2 : 0)
    .map((j) => `let angle${j} = u${j} % ${v.half}u;`)
    .join("\n  ")}
  ${range(rows)
    .map(
      (i) => `{
    let i = tileRow + local.y * ${rows}u + ${i}u;
    if (i < params.m) {
    ${
      paired
        ? range(cols / 2)
            .map((j) => storePair(i, j))
            .join("\n    ")
        : range(cols / colsPerEntry)
            .map((j) => store(i, j))
            .join("\n    ")
    }
    }
  }`,
    )
    .join("\n  ")}
  ${walk > 1 ? "}" : ""}
}
`;
};
