import type { MatmulVariant } from "./variant.ts";

// The inner loop of matmul that reads directly from memory. staged.ts has the loop through workgroup memory.

export const range = (n: number) => Array.from({ length: n }, (_, i) => i);

/** One operand pair of the sum: WGSL names of load functions and leading dimensions. */
interface Operands {
  a: "a" | "a2";
  b: "b" | "b2";
  lda: string;
  ldb: string;
  /** first element of each */
  aAt: string;
  bAt: string;
  k: string;
  transA: boolean;
  /** columns of the tile for this loop, and the name of their index in b; default: all columns and `col` */
  only?: { first: number; count: number; called: (j: number) => string };
}

/** Names for the main product; `transA` is from the variant. */
export const MAIN = { a: "a", b: "b", lda: "params.lda", ldb: "params.ldb", aAt: "aAt", bAt: "bAt", k: "k" } as const;

/** Entries of a row for a loop. */
function columns({ tile, transB }: MatmulVariant, { only }: Operands): number[] {
  if (only) return range(only.count).map((j) => only.first + j);
  return range(transB ? tile.cols : tile.cols / 4);
}

/** Steps whose rows of b are loaded before the first product, so that a sum is loaded once for all of them. */
function together({ tile, texels }: MatmulVariant, steps: number): number {
  if (tile.broadcast !== 8) return 1; // measured on llvmpipe only
  return texels === "none" ? Math.min(steps, 4) : steps;
}

/** WGSL of `steps` of the sum, read directly from memory; `s` is the first. */
function directSteps(v: MatmulVariant, o: Operands, steps: number): string {
  const lines: string[] = [];
  const left = loadLeft(v, o, steps, lines);
  const load = loadRight(v, o, steps, lines);
  const { rows } = v.tile;
  const width = v.transB && steps > 1 ? 4 : 1; // steps per load of b
  const chained = v.transB ? width : together(v, steps);
  const all = columns(v, o);
  const { colsAtOnce = all.length } = v.tile;
  const groups = range(Math.ceil(all.length / colsAtOnce)).map((g) => all.slice(g * colsAtOnce, (g + 1) * colsAtOnce));
  for (const first of range(steps / chained).map((c) => c * chained)) {
    const values: string[][] = [];
    for (const entries of groups) {
      for (const t of range(chained / width).map((c) => first + c * width))
        for (const j of entries) lines.push(`let w${t}_${j} = ${load(j, t)};`);
      // row by row, so that few of the lanes' values are live at once
      for (const i of range(rows)) {
        values[i] ??= range(chained).map((t) => left(i, first + t));
        for (const j of entries) {
          const own = v.fours && v.transB && chained > 1;
          let sum = own ? "" : `acc${i}_${j}`;
          for (const t of range(chained)) {
            const x = v.transB ? values[i][t] : `vec4f(${values[i][t]})`;
            const w = `w${first + t - (t % width)}_${j}${width > 1 ? `[${t}]` : ""}`;
            sum = sum ? `fma(${x}, ${w}, ${sum})` : `${x} * ${w}`;
          }
          lines.push(`acc${i}_${j} ${own ? "+=" : "="} ${sum};`);
        }
      }
    }
  }
  return lines.join("\n    ");
}

/**
 * The value of `value` in a lane. llvmpipe, with 8 lanes, compiles a shuffle from a constant lane to one instruction, a
 * broadcast to three; only products of strips are slower with it (bench/LOG.md).
 */
function fromLane({ tile, stripsB }: MatmulVariant, value: string, lane: number): string {
  return `${tile.broadcast === 8 && !stripsB ? "subgroupShuffle" : "subgroupBroadcast"}(${value}, ${lane}u)`;
}

/**
 * Loads of `a` for `steps` steps. The result emits the load for row i at step t and returns the value's name.
 *
 * With `broadcast`, lanes share loads: each lane loads four elements and broadcasts them to the others.
 */
function loadLeft(v: MatmulVariant, o: Operands, steps: number, lines: string[]): (i: number, t: number) => string {
  const { rows, broadcast } = v.tile;
  const drop = v.dropout === "a" && o.a === "a";
  if (steps === 1) {
    // One element of each row; with `broadcast`, a lane loads the element of one row.
    const shared = broadcast > 0 && rows % broadcast === 0;
    for (const g of range(shared ? rows / broadcast : rows)) {
      const row = shared ? `own${g}` : `row${g}`;
      const index = o.transA
        ? `${o.aAt} + s * ${o.lda} + ${row}`
        : shared
          ? `left${g} + s`
          : `${o.aAt} + ${row} * ${o.lda} + s`;
      lines.push(`let u${g} = ${o.a}At1(${index})${drop ? ` * keep1(${row}, s)` : ""};`);
    }
    if (!shared) return (i) => `u${i}`;
    return (i) => fromLane(v, `u${Math.floor(i / broadcast)}`, i % broadcast);
  }
  let element: (i: number, t: number) => string;
  let owner: (i: number, t: number) => number;
  if (o.transA) {
    // A load covers four rows of a step. Lanes take different steps, and different rows if there are more lanes than
    // steps.
    const along = broadcast > 0 ? Math.min(steps, broadcast) : 1;
    const across = broadcast > 0 ? broadcast / along : 1;
    for (const t of range(steps / along)) {
      for (const g of range(rows / 4 / across)) {
        const step = broadcast > 0 ? `s + ${t * along}u + lane % ${along}u` : `s + ${t}u`;
        const row = `row0 + ${4 * across * g}u${across > 1 ? ` + lane / ${along}u * 4u` : ""}`;
        lines.push(`let u${t}_${g} = ${o.a}At4(${o.aAt} + (${step}) * ${o.lda} + ${row});`);
      }
    }
    element = (i, t) => `u${Math.floor(t / along)}_${Math.floor((i >> 2) / across)}[${i & 3}]`;
    owner = (i, t) => (t % along) + along * ((i >> 2) % across);
  } else if (rows < broadcast) {
    // Several lanes take one row and divide its steps: four each, or one each if there are fewer.
    const lanes = broadcast / rows;
    const width = lanes <= 2 || steps >= 4 * lanes ? 4 : 1;
    const parts = Math.min(lanes, steps / width);
    for (const g of range(steps / width / parts)) {
      const step = `s + ${g * parts * width}u + lane % ${parts}u * ${width}u`;
      const mask = drop ? ` * keep${width}(own0, ${step})` : "";
      lines.push(`let u${g} = ${o.a}At${width}(left0 + ${step})${mask};`);
    }
    element = (_, t) => `u${Math.floor(t / width / parts)}${width === 4 ? `[${t & 3}]` : ""}`;
    owner = (i, t) => i * lanes + (Math.floor(t / width) % parts);
  } else {
    // A load covers four steps of a row. Lanes take different rows.
    const each = broadcast || 1;
    for (const g of range(rows / each)) {
      const row = broadcast > 0 ? `own${g}` : `row${g}`;
      for (const c of range(steps / 4)) {
        const mask = drop ? ` * keep4(${row}, s + ${4 * c}u)` : "";
        lines.push(`let u${g}_${c} = ${o.a}At4(left${g} + s + ${4 * c}u)${mask};`);
      }
    }
    element = (i, t) => `u${Math.floor(i / each)}_${t >> 2}[${t & 3}]`;
    owner = (i) => i % each;
  }
  return (i, t) => {
    if (broadcast === 0) return element(i, t);
    lines.push(`let x${i}_${t} = ${fromLane(v, element(i, t), owner(i, t))};`);
    return `x${i}_${t}`;
  };
}

/** Loads of `b`: the expression for entry j from step t on, four steps with transB, else one step of four columns. */
function loadRight(v: MatmulVariant, o: Operands, steps: number, lines: string[]): (j: number, t: number) => string {
  const drop = v.dropout === "b" && o.b === "b";
  if (!v.transB && steps > 1 && v.eightB && o.b === "b") {
    // a texel has two entries of a row
    return (j, t) => {
      const mask = drop ? ` * keep4(s + ${t}u, col${j})` : "";
      if (j % 2 === 0) lines.push(`let q${t}_${j} = bTexel((${o.bAt} + (s + ${t}u) * ${o.ldb} + col${j}) / 8u);`);
      return `widen(q${t}_${j - (j % 2)}.${j % 2 === 0 ? "xy" : "zw"})${mask}`;
    };
  }
  if (v.stripsB && o.b === "b") {
    return (j, t) => `bAt4(bRow + s + ${t}u, col${j})${drop ? ` * keep4(s + ${t}u, col${j})` : ""}`;
  }
  if (!v.transB) {
    return (j, t) =>
      `${o.b}At4(${o.bAt} + (s + ${t}u) * ${o.ldb} + col${j})${drop ? ` * keep4(s + ${t}u, col${j})` : ""}`;
  }
  const width = steps > 1 ? 4 : 1;
  const eight = steps > 1 && v.eightB && o.b === "b";
  return (j, t) => {
    const mask = drop ? ` * keep${width}(col${j}, s + ${t}u)` : "";
    if (eight && steps === 4) {
      const word = `(right${j} + s) / 8u`; // half a load: what is left of a sum
      lines.push(`let q${j} = ${v.texels === "none" ? `b[${word}]` : `bTexel(${word})`};`);
      return `widen(select(q${j}.xy, q${j}.zw, s % 8u >= 4u))${mask}`;
    }
    if (eight && t % 8 === 0) {
      const word = `(right${j} + s) / 8u + ${t / 8}u`;
      lines.push(`let q${t}_${j} = ${v.texels === "none" ? `b[${word}]` : `bTexel(${word})`};`);
    }
    if (eight) return `widen(q${t - (t % 8)}_${j}.${t % 8 < 4 ? "xy" : "zw"})${mask}`;
    return `${o.b}At${width}(right${j} + s + ${t}u)${mask}`;
  };
}

/** Loop over the whole sum, without workgroup memory. */
export function directLoop(v: MatmulVariant, o: Operands, steps: number, tail: boolean): string {
  const { rows, broadcast } = v.tile;
  const own = broadcast > 0 ? "own" : "row"; // rows that a thread loads
  // fours stay together, so that bits do not depend on the tile
  const rest = tail ? (v.fours && v.transB && steps > 4 ? [4, 1] : [1]) : [];
  const place = o.only?.called ?? ((j: number) => `col${j}`);
  const starts = [
    ...(o.transA
      ? []
      : range(Math.ceil(rows / (broadcast || 1))).map((g) => `let left${g} = ${o.aAt} + ${own}${g} * ${o.lda};`)),
    ...(v.transB ? columns(v, o).map((j) => `let right${j} = ${o.bAt} + ${place(j)} * ${o.ldb};`) : []),
  ];
  return `{
  ${starts.join("\n  ")}
  var s = 0u;
  for (; s + ${steps}u <= ${o.k}; s += ${steps}u) {
    ${directSteps(v, o, steps)}
  }
  ${rest
    .map(
      (few) => `for (; s + ${few}u <= ${o.k}; s += ${few}u) {
    ${directSteps(v, o, few)}
  }`,
    )
    .join("\n  ")}
  }`;
}

/** Loops over the low-rank part of the sum: one loop, or for swiglu one per half of the columns. */
export function extraLoops(v: MatmulVariant): string[] {
  const loop = (r: string, aAt: string, bAt: string, only?: Operands["only"]) => {
    const ldb = v.transB ? r : "n";
    return directLoop(v, { a: "a2", b: "b2", lda: "params.lda2", ldb, aAt, bAt, k: r, transA: false, only }, 4, v.tail);
  };
  if (v.pairs !== "swiglu") return [loop("r", "a2At", "b2At")];
  const count = v.tile.cols / 2;
  return range(2).map((half) => {
    const only = { first: half * count, count, called: (j: number) => `u${j % count}` };
    return loop(`params.r${half}`, `params.a2At${half}`, `params.b2At${half}`, only);
  });
}
