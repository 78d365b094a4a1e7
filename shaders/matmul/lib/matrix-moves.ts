import type { ProductVariant } from "./header.ts";
import { range } from "./loops.ts";
import { type MatrixTile, slabsOf } from "./slabs.ts";

// How a workgroup's threads move operands of subgroup matrices into workgroup memory.

/** Compile-time parameters of a product on matrix units. */
export interface MatmulSubgroupMatrixVariant extends ProductVariant {
  tile: MatrixTile;
}

/** Threads per workgroup, its tile, and matrices per subgroup. */
export function sizesOf({ tile: { rows, cols, lanes, groups, matrix } }: MatmulSubgroupMatrixVariant) {
  return {
    threads: lanes * groups * matrix.size,
    tileRows: rows * groups,
    tileCols: cols * lanes,
    down: rows / matrix.m,
    across: cols / matrix.n,
  };
}

/** A subgroup's matrices, by row and column. */
export function matricesOf(v: MatmulSubgroupMatrixVariant): (readonly [number, number])[] {
  const { down, across } = sizesOf(v);
  return range(down).flatMap((i) => range(across).map((j) => [i, j] as const));
}

/** A thread's share of moving an operand into its slab: eight steps of a row, or four steps of four columns. */
interface Move {
  name: "a" | "b";
  id: string;
  eight: boolean;
  /** row or first column inside the tile */
  outer: string;
  /** first step inside the slab */
  along: string;
  guard: string;
}

export function movesOf(v: MatmulSubgroupMatrixVariant): Move[] {
  const { threads, tileRows, tileCols } = sizesOf(v);
  const { stage } = v.tile;
  return (["a", "b"] as const).flatMap((name) => {
    const eight = name === "a" || v.transB;
    const size = name === "a" ? tileRows : tileCols;
    // neighbours take neighbouring steps: what they write lies in different banks
    const inner = eight ? stage / 8 : stage / 4;
    const count = (eight ? size : size / 4) * inner;
    return range(Math.ceil(count / threads)).map((n): Move => {
      const t = n === 0 ? "thread" : `(thread + ${n * threads}u)`;
      const all = (n + 1) * threads <= count;
      const place = all ? t : `(${t} % ${count}u)`;
      return {
        name,
        id: `${name}${n}`,
        eight,
        outer: `${place} / ${inner}u${eight ? "" : " * 4u"}`,
        along: `${place} % ${inner}u * ${eight ? 8 : 4}u`,
        guard: all ? "" : `if (${t} < ${count}u) `,
      };
    });
  });
}

/** WGSL: writes four elements of a row of a slab, from step `along`. @param row WGSL, inside the tile */
export function put(
  v: MatmulSubgroupMatrixVariant,
  name: "a" | "b",
  row: string,
  along: string,
  value: string,
): string {
  const { rows, cols, matrix } = v.tile;
  const { tileCols, across } = sizesOf(v);
  const { ld } = slabsOf(v.tile);
  const elements = (to: string) =>
    range(4)
      .map((e) => `${to}[at + ${e}u] = ${value}[${e}];`)
      .join(" ");
  const inside = (size: number) => `let at = r % ${size}u * ${ld}u + ${along};`;
  if (name === "a") {
    const place = `aSlab[r / ${rows}u][r % ${rows}u / ${matrix.m}u]`;
    return `{ let r = ${row}; ${inside(matrix.m)} ${elements(place)} }`;
  }
  const paired = v.pairs !== "none";
  const width = paired ? cols / 2 : cols;
  const column = paired ? `r % ${tileCols / 2}u` : "r";
  const second = paired ? `r / ${tileCols / 2}u * ${across / 2}u + ` : "";
  const place = `bSlab[${column} / ${width}u][${second}${column} % ${width}u / ${matrix.n}u]`;
  return `{ let r = ${row}; ${inside(matrix.n)} ${elements(place)} }`;
}

/** Columns g0 … g3 of four steps each, written along the sum. */
export function turned(v: MatmulSubgroupMatrixVariant, outer: string, along: string): string {
  return range(4)
    .map(
      (e) =>
        `let h${e} = Four(g0[${e}], g1[${e}], g2[${e}], g3[${e}]); ${put(v, "b", `${outer} + ${e}u`, along, `h${e}`)}`,
    )
    .join("\n      ");
}
