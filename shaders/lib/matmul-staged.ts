import type { MatmulVariant } from "../matmul.wgsl.ts";
import { range } from "./matmul-loops.ts";

// The inner loop of matmul as text: the sum through workgroup memory.

/** What the loop declares beside `main`. */
export function stagedDeclarations({ tile: { rows, cols, lanes, groups, stage } }: MatmulVariant): string {
  return `
var<workgroup> aSlab: array<f32, ${stage * rows * groups}>;
var<workgroup> bSlab: array<f32, ${stage * cols * lanes}>;`;
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
      let outer = ${name === "b" && v.pairs !== "none" ? `column(tileCol, t / ${stage / 4}u, n)` : `${base} + t / ${stage / 4}u`};
      let s = slab + (t % ${stage / 4}u) * 4u;
      var value = vec4f();
      if (outer < ${bound}) {
        if (s + 4u <= k) { value = ${name}At4(${name}At + outer * ${ld} + s)${drop ? " * keep4(outer, s)" : ""}; }
        else {
          for (var e = 0u; s + e < k; e++) { value[e] = ${name}At1(${name}At + outer * ${ld} + s + e)${drop ? " * keep1(outer, s + e)" : ""}; }
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
      if (s < k) {
        if (outer + 4u <= ${bound}) { value = ${name}At4(${name}At + s * ${ld} + outer)${drop ? " * keep4(s, outer)" : ""}; }
        else {
          for (var e = 0u; outer + e < ${bound}; e++) { value[e] = ${name}At1(${name}At + s * ${ld} + outer + e)${drop ? " * keep1(s, outer + e)" : ""}; }
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
  for (var slab = 0u; slab < k; slab += ${stage}u) {
    ${fill("a", m, !v.transA, "tileRow", "params.m", "params.lda")}
    ${fill("b", n, v.transB, "tileCol", "n", "params.ldb")}
    workgroupBarrier();
    for (var s = 0u; s < ${stage}u; s++) {
      ${inner.join("\n      ")}
    }
    workgroupBarrier();
  }`;
}
