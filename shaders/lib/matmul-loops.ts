import type { MatmulVariant } from "../matmul.wgsl.ts";

// The inner loops of matmul, as text: the sum read straight from memory, or through workgroup memory.

export const range = (n: number) => Array.from({ length: n }, (_, i) => i);

/** One operand pair of the sum: load functions and leading dimensions, as WGSL names. */
export interface Operands {
  a: "a" | "a2";
  b: "b" | "b2";
  lda: string;
  ldb: string;
  k: string;
  transA: boolean;
}

/** WGSL of `steps` of the sum, read straight from memory; `s` is the first. */
function directSteps(v: MatmulVariant, o: Operands, steps: number): string {
  const lines: string[] = [];
  const left = loadLeft(v, o, steps, lines);
  const load = loadRight(v, o, steps, lines);
  const { rows, cols } = v.tile;
  const width = v.transB && steps > 1 ? 4 : 1; // steps that one load of b covers
  for (const first of range(steps / width).map((c) => c * width)) {
    const entries = range(v.transB ? cols : cols / 4);
    for (const j of entries) lines.push(`let w${first}_${j} = ${load(j, first)};`);
    // row by row, so that few of the lanes' values are alive at a time
    for (const i of range(rows)) {
      const values = range(width).map((t) => left(i, first + t));
      for (const j of entries) {
        let sum = `acc${i}_${j}`;
        for (const t of range(width)) {
          const x = v.transB ? values[t] : `vec4f(${values[t]})`;
          sum = `fma(${x}, w${first}_${j}${width > 1 ? `[${t}]` : ""}, ${sum})`;
        }
        lines.push(`acc${i}_${j} = ${sum};`);
      }
    }
  }
  return lines.join("\n    ");
}

/**
 * Loads of `a` for `steps` steps. The result writes what row i needs at step t and names the value.
 *
 * With `broadcast` every load is shared out: each lane loads four elements of its own, which the others get from it.
 */
function loadLeft(v: MatmulVariant, o: Operands, steps: number, lines: string[]): (i: number, t: number) => string {
  const { rows, broadcast } = v.tile;
  const drop = v.dropout === "a" && o.a === "a";
  if (steps === 1) {
    // One element of each row; with `broadcast` a lane loads that of one row.
    const shared = broadcast > 0 && rows % broadcast === 0;
    for (const g of range(shared ? rows / broadcast : rows)) {
      const row = shared ? `own${g}` : `row${g}`;
      const index = o.transA ? `s * ${o.lda} + ${row}` : shared ? `left${g} + s` : `${row} * ${o.lda} + s`;
      lines.push(`let u${g} = ${o.a}At1(${index})${drop ? ` * keep1(${row}, s)` : ""};`);
    }
    if (!shared) return (i) => `u${i}`;
    return (i) => `subgroupBroadcast(u${Math.floor(i / broadcast)}, ${i % broadcast}u)`;
  }
  let element: (i: number, t: number) => string;
  let owner: (i: number, t: number) => number;
  if (o.transA) {
    // A load covers four rows of a step. Lanes take the steps, and where there are more lanes than steps, more rows.
    const along = broadcast > 0 ? Math.min(steps, broadcast) : 1;
    const across = broadcast > 0 ? broadcast / along : 1;
    for (const t of range(steps / along)) {
      for (const g of range(rows / 4 / across)) {
        const step = broadcast > 0 ? `s + ${t * along}u + lane % ${along}u` : `s + ${t}u`;
        const row = `row0 + ${4 * across * g}u${across > 1 ? ` + lane / ${along}u * 4u` : ""}`;
        lines.push(`let u${t}_${g} = ${o.a}At4((${step}) * ${o.lda} + ${row});`);
      }
    }
    element = (i, t) => `u${Math.floor(t / along)}_${Math.floor((i >> 2) / across)}[${i & 3}]`;
    owner = (i, t) => (t % along) + along * ((i >> 2) % across);
  } else if (rows < broadcast) {
    // Several lanes take a row and share out its steps: four each, or where there are fewer, one each.
    const lanes = broadcast / rows;
    const width = lanes <= 2 ? 4 : 1;
    const parts = Math.min(lanes, steps / width);
    for (const g of range(steps / width / parts)) {
      const step = `s + ${g * parts * width}u + lane % ${parts}u * ${width}u`;
      const mask = drop ? ` * keep${width}(own0, ${step})` : "";
      lines.push(`let u${g} = ${o.a}At${width}(left0 + ${step})${mask};`);
    }
    element = (_, t) => `u${Math.floor(t / width / parts)}${width === 4 ? `[${t & 3}]` : ""}`;
    owner = (i, t) => i * lanes + (Math.floor(t / width) % parts);
  } else {
    // A load covers four steps of a row. Lanes take the rows.
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
    lines.push(`let x${i}_${t} = subgroupBroadcast(${element(i, t)}, ${owner(i, t)}u);`);
    return `x${i}_${t}`;
  };
}

/** Loads of `b`: the expression for entry j from step t on, four steps with transB, else one step of four columns. */
function loadRight(v: MatmulVariant, o: Operands, steps: number, lines: string[]): (j: number, t: number) => string {
  const drop = v.dropout === "b" && o.b === "b";
  if (!v.transB) {
    return (j, t) => `${o.b}At4((s + ${t}u) * ${o.ldb} + col${j})${drop ? ` * keep4(s + ${t}u, col${j})` : ""}`;
  }
  const width = steps > 1 ? 4 : 1;
  const eight = steps > 1 && v.eightB && o.b === "b";
  if (eight) {
    for (const t of range(steps / 8))
      for (const j of range(v.tile.cols)) lines.push(`let q${8 * t}_${j} = b[(right${j} + s) / 8u + ${t}u];`);
  }
  return (j, t) => {
    const mask = drop ? ` * keep${width}(col${j}, s + ${t}u)` : "";
    if (eight) return `widen(q${t - (t % 8)}_${j}.${t % 8 < 4 ? "xy" : "zw"})${mask}`;
    return `${o.b}At${width}(right${j} + s + ${t}u)${mask}`;
  };
}

/** Loop over the whole sum, without workgroup memory. */
export function directLoop(v: MatmulVariant, o: Operands, steps: number, tail: boolean): string {
  const { rows, cols, broadcast } = v.tile;
  const own = broadcast > 0 ? "own" : "row"; // the rows that a thread loads
  const starts = [
    ...(o.transA ? [] : range(Math.ceil(rows / (broadcast || 1))).map((g) => `let left${g} = ${own}${g} * ${o.lda};`)),
    ...(v.transB ? range(cols).map((j) => `let right${j} = col${j} * ${o.ldb};`) : []),
  ];
  return `{
  ${starts.join("\n  ")}
  var s = 0u;
  for (; s + ${steps}u <= ${o.k}; s += ${steps}u) {
    ${directSteps(v, o, steps)}
  }
  ${
    tail
      ? `for (; s < ${o.k}; s++) {
    ${directSteps(v, o, 1)}
  }`
      : ""
  }
  }`;
}

/** Loop over the whole sum, a slab of `stage` steps at a time through workgroup memory. */
export function stagedLoop(v: MatmulVariant): string {
  const { rows, cols, lanes, groups, stage } = v.tile;
  const threads = lanes * groups;
  const m = rows * groups;
  const n = cols * lanes;
  // Each slab is [stage][m / 4] and [stage][n / 4] vec4: the inner loop then reads both along the output.
  const fill = (name: "a" | "b", size: number, alongK: boolean, base: string, bound: string, ld: string) => {
    const drop = v.dropout === name;
    if (alongK) {
      // stored with the sum along the row: load 4 steps of one output index, scatter them over 4 slab rows
      const n4 = (size * stage) / 4;
      return `
    for (var t = thread; t < ${n4}u; t += ${threads}u) {
      let outer = ${base} + t / ${stage / 4}u;
      let s = slab + (t % ${stage / 4}u) * 4u;
      var value = vec4f();
      if (outer < ${bound}) {
        if (s + 4u <= params.k) { value = ${name}At4(outer * ${ld} + s)${drop ? " * keep4(outer, s)" : ""}; }
        else {
          for (var e = 0u; s + e < params.k; e++) { value[e] = ${name}At1(outer * ${ld} + s + e)${drop ? " * keep1(outer, s + e)" : ""}; }
        }
      }
      for (var e = 0u; e < 4u; e++) { ${name}Slab[((t % ${stage / 4}u) * 4u + e) * ${size}u + t / ${stage / 4}u] = value[e]; }
    }`;
    }
    return `
    for (var t = thread; t < ${(size * stage) / 4}u; t += ${threads}u) {
      let outer = ${base} + (t % ${size / 4}u) * 4u;
      let s = slab + t / ${size / 4}u;
      var value = vec4f();
      if (s < params.k) {
        if (outer + 4u <= ${bound}) { value = ${name}At4(s * ${ld} + outer)${drop ? " * keep4(s, outer)" : ""}; }
        else {
          for (var e = 0u; outer + e < ${bound}; e++) { value[e] = ${name}At1(s * ${ld} + outer + e)${drop ? " * keep1(s, outer + e)" : ""}; }
        }
      }
      let at = (t / ${size / 4}u) * ${size}u + (t % ${size / 4}u) * 4u;
      for (var e = 0u; e < 4u; e++) { ${name}Slab[at + e] = value[e]; }
    }`;
  };
  const inner: string[] = [];
  for (const i of range(rows)) inner.push(`let u${i} = aSlab[s * ${m}u + local.y * ${rows}u + ${i}u];`);
  for (const j of range(v.transB ? cols : cols / 4)) {
    if (v.transB) {
      inner.push(`let w${j} = bSlab[s * ${n}u + local.x + ${j * lanes}u];`);
      for (const i of range(rows)) inner.push(`acc${i}_${j} = fma(u${i}, w${j}, acc${i}_${j});`);
    } else {
      const at = `s * ${n}u + (local.x + ${j * lanes}u) * 4u`;
      inner.push(`let w${j} = vec4f(bSlab[${at}], bSlab[${at} + 1u], bSlab[${at} + 2u], bSlab[${at} + 3u]);`);
      for (const i of range(rows)) inner.push(`acc${i}_${j} = fma(vec4f(u${i}), w${j}, acc${i}_${j});`);
    }
  }
  return `
  for (var slab = 0u; slab < params.k; slab += ${stage}u) {
    ${fill("a", m, !v.transA, "tileRow", "params.m", "params.lda")}
    ${fill("b", n, v.transB, "tileCol", "params.n", "params.ldb")}
    workgroupBarrier();
    for (var s = 0u; s < ${stage}u; s++) {
      ${inner.join("\n      ")}
    }
    workgroupBarrier();
  }`;
}
