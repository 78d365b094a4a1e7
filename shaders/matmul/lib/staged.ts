import { storedType, WIDEN } from "../../lib/load.ts";
import { ownOf } from "./header.ts";
import { range } from "./loops.ts";
import type { MatmulVariant } from "./variant.ts";

// The inner loop of matmul through workgroup memory, for GPUs.
//
// Slabs hold `stage` steps of the tile's rows and columns, step by step, four outputs per vec4. Threads move them in
// pieces of four steps by four outputs. Operands that are contiguous along the sum are transposed in registers, and
// every fourth row of their slab is shifted, so that eight neighbouring threads write to eight different groups of
// banks. Whole slabs are read without edge tests: past the last row or column of the output, a thread repeats the last
// one and stores nothing. All offsets are constants from one base, and masks keep them in range, so that no compiler
// has to clamp them. The next slab is loaded while the current one is multiplied. The remainder of a sum, and the
// low-rank part, use the same slabs, with zeros past their ends. Sums run over the steps in the same order as in the
// direct loop, with the same bits.

/** One operand's slab. */
interface Side {
  name: "a" | "b";
  /** vec4s per step */
  width: number;
  /** stored with the sum along rows */
  alongSum: boolean;
  /** vec4s by which every fourth step is shifted */
  skew: number;
  /** pieces of four steps by four outputs */
  pieces: number;
  /** elements per entry of the bound array; 1 if it is read by `{name}At4` */
  unit: 1 | 4;
  /** WGSL type of four loaded elements */
  raw: string;
}

/** An operand pair that is read with zeros past its ends. */
interface Operands {
  a: "a" | "a2";
  b: "b" | "b2";
  lda: string;
  ldb: string;
  aAt: string;
  bAt: string;
  /** a is stored with the sum down its columns */
  transA: boolean;
  /** WGSL: first step and end */
  from: string;
  k: string;
  /** for swiglu's low-rank parts: their half of the columns */
  half?: number;
}

function sideOf(v: MatmulVariant, name: "a" | "b", transA = v.transA): Side {
  const { rows, cols, lanes, groups, stage } = v.tile;
  const width = (name === "a" ? rows * groups : cols * lanes) / 4;
  const alongSum = name === "a" ? !transA : v.transB;
  const stored = v[name];
  const whole = (name === "a" ? v.vecA : v.vecB) && stored !== "int8" && stored !== "nf4";
  return {
    name,
    width,
    alongSum,
    skew: alongSum ? Math.max(1, Math.floor(32 / stage)) : 0,
    pieces: (width * stage) / 4,
    unit: whole ? 4 : 1,
    raw: whole ? storedType(stored, true) : "vec4f",
  };
}

const sidesOf = (v: MatmulVariant) => (["a", "b"] as const).map((name) => sideOf(v, name));

const vec4Of = (v: MatmulVariant) => (v.tile.compute === "f16" ? "vec4<f16>" : "vec4f");

/** vec4s of an operand's slab. */
function slabSize(v: MatmulVariant, name: "a" | "b"): number {
  const { width, skew } = sideOf(v, name);
  // a2 is contiguous along the sum, in every layout of a
  const low = v.extra && name === "a" ? sideOf(v, name, false).skew : 0;
  return v.tile.stage * width + (v.tile.stage / 4 - 1) * Math.max(skew, low);
}

/** Bytes of workgroup memory of a staged tile. */
export function stagedBytes(v: Pick<MatmulVariant, "tile">): number {
  const { rows, cols, lanes, groups, stage } = v.tile;
  const skew = 2 * (stage / 4 - 1) * Math.max(1, Math.floor(32 / stage));
  return (v.tile.compute === "f16" ? 8 : 16) * ((stage * (rows * groups + cols * lanes)) / 4 + skew);
}

/**
 * WGSL `{name}Four`: reads four elements of an operand, either four steps of a row or four outputs of a step; zeros
 * past `end`.
 *
 * @param whole rows end on a whole four
 */
export function fourLoads(name: string, alongSum: boolean, vec: string, drop: boolean, whole: boolean): string {
  const [along, across] = alongSum ? ["s", "outer"] : ["outer", "s"];
  const keep = (width: 1 | 4, e: string) =>
    drop ? ` * keep${width}(${alongSum ? `outer, s${e}` : `s, outer${e}`})` : "";
  const rest =
    alongSum && whole
      ? ""
      : `for (var e = 0u; ${along} + e < end; e++) { value[e] = ${name}At1(at + ${across} * ld + ${along} + e)${keep(1, " + e")}; }`;
  return `
fn ${name}Four(outer: u32, s: u32, end: u32, at: u32, ld: u32) -> ${vec} {
  if (${along} + 4u <= end) { return ${vec}(${name}At4(at + ${across} * ld + ${along})${keep(4, "")}); }
  var value = vec4f();
  ${rest}
  return ${vec}(value);
}`;
}

/** The loop's declarations outside `main`: slabs, and their load functions. */
export function stagedDeclarations(v: MatmulVariant): string {
  const [vec, drop] = [vec4Of(v), (name: string) => v.dropout === name];
  const lines = sidesOf(v).map(({ name }) => `var<workgroup> ${name}Slab: array<${vec}, ${slabSize(v, name)}>;`);
  if (sidesOf(v).some(({ raw }) => raw === "vec2u")) lines.push(WIDEN);
  if (v.tail) {
    lines.push(fourLoads("a", !v.transA, vec, drop("a"), false), fourLoads("b", v.transB, vec, drop("b"), false));
  }
  if (v.extra) {
    lines.push(fourLoads("a2", true, vec, false, v.vecExtra), fourLoads("b2", v.transB, vec, false, v.vecExtra));
  }
  return lines.join("\n");
}

/**
 * WGSL: threads that move a side's pieces, and the position of a thread's piece n: o is its vec4 along the output, q
 * its four steps.
 */
function placeOf({ tile: { lanes, groups, stage } }: MatmulVariant, side: Side, n: number) {
  const threads = lanes * groups;
  const few = side.pieces % threads !== 0;
  // if there are pieces for only half of the threads, the other half moves b's
  const first = few && side.name === "b" ? `(thread + ${Math.floor(threads / 2)}u)` : "thread";
  const all = Math.ceil(side.pieces / threads) * threads;
  const t = n === 0 && first === "thread" ? "thread" : `((${first} + ${n * threads}u) % ${all}u)`;
  const guard = (n + 1) * threads <= side.pieces ? "" : `if (${t} < ${side.pieces}u) `;
  const p = guard === "" ? t : `(${t} % ${side.pieces}u)`;
  const quads = stage / 4;
  return side.alongSum
    ? { guard, o: `(${p} / ${quads}u)`, q: `(${p} % ${quads}u)` } // neighbours read consecutive elements of a row
    : { guard, o: `(${p} % ${side.width}u)`, q: `(${p} / ${side.width}u)` };
}

/** Pieces that a thread moves, of both sides. */
function piecesOf(v: MatmulVariant) {
  const threads = v.tile.lanes * v.tile.groups;
  return sidesOf(v).flatMap((side) =>
    range(Math.ceil(side.pieces / threads)).map((n) => ({ side, id: `${side.name}${n}`, ...placeOf(v, side, n) })),
  );
}

/**
 * Output e of a piece along the sum: its row of a or of bᵀ, not clamped. A thread's columns are `lanes` apart, so that
 * neighbouring threads store neighbours; so are the four of a vec4.
 */
function outer(v: MatmulVariant, side: Side, o: string, e: number): string {
  const { lanes } = v.tile;
  if (side.name === "a") return `tileRow + ${o} * 4u + ${e}u`;
  const place = `${o} % ${lanes}u + (${o} / ${lanes}u * 4u + ${e}u) * ${lanes}u`;
  return v.pairs === "none" ? `tileCol + ${place}` : `column(tileCol, ${place}, n)`;
}

/** A thread's state of its pieces over the whole sum: their offsets, and the loaded values. */
function pieceLets(v: MatmulVariant): string {
  return piecesOf(v)
    .flatMap(({ side, id, o, q }) => {
      const { name, alongSum, unit, raw } = side;
      const [ld, at, end] = [`params.ld${name}`, `${name}At`, name === "a" ? "params.m" : "n"];
      const unitOf = (index: string) => (unit === 1 ? index : `(${index}) / ${unit}u`);
      const registers = range(4).map((e) => `var ${id}_${e} = ${raw}();`);
      if (alongSum) {
        const rows = range(4).flatMap((e) => [
          `let ${id}Row${e} = min(${outer(v, side, o, e)}, ${end} - 1u);`,
          `let ${id}At${e} = ${unitOf(`${at} + ${id}Row${e} * ${ld} + ${q} * 4u`)};`,
        ]);
        return [...rows, ...registers];
      }
      const first = `min(${name === "a" ? "tileRow" : "tileCol"} + ${o} * 4u, (${end} - 1u) / 4u * 4u)`;
      return [
        `let ${id}Col = ${first};`,
        `let ${id}At = ${unitOf(`${at} + ${q} * 4u * ${ld} + ${id}Col`)};`,
        ...registers,
      ];
    })
    .join("\n  ");
}

/** Loads of the slab at step `slab`, WGSL, into registers. */
function loads(v: MatmulVariant, slab: string): string {
  return piecesOf(v)
    .map(({ side, id, guard }) => {
      const { name, alongSum, unit } = side;
      const four = (index: string) => (unit === 4 ? `${name}[${index}]` : `${name}At4(${index})`);
      const step = alongSum ? `(${slab}) / ${unit}u` : `(${slab}) * (params.ld${name} / ${unit}u)`;
      const lines = range(4).map((e) => {
        const at = alongSum ? `${id}At${e} + next` : `${id}At + next + ${e}u * (params.ld${name} / ${unit}u)`;
        return `${id}_${e} = ${four(at)};`;
      });
      return `${guard}{
      let next = ${step};
      ${lines.join("\n      ")}
    }`;
    })
    .join("\n    ");
}

/** Stores registers in the slabs, after widening and dropout. */
function stores(v: MatmulVariant): string {
  const vec = vec4Of(v);
  return piecesOf(v)
    .map(({ side, id, guard, o, q }) => {
      const { name, alongSum, raw, width, skew } = side;
      const value = (e: number) =>
        raw === "vec2u" ? `widen(${id}_${e})` : raw === "vec4f" ? `${id}_${e}` : `vec4f(${id}_${e})`;
      const keep = (e: number) => {
        if (v.dropout !== name) return "";
        return alongSum ? ` * keep4(${id}Row${e}, slab + ${q} * 4u)` : ` * keep4(slab + ${q} * 4u + ${e}u, ${id}Col)`;
      };
      const lines = range(4).map((e) => `let line${e} = ${vec}(${value(e)}${keep(e)});`);
      const turned = (e: number) => (alongSum ? `${vec}(${range(4).map((i) => `line${i}[${e}]`)})` : `line${e}`);
      return `${guard}{
      ${lines.join("\n      ")}
      let to = ${q} * ${4 * width + skew}u + ${o};
      ${range(4)
        .map((e) => `${name}Slab[to + ${e * width}u] = ${turned(e)};`)
        .join("\n      ")}
    }`;
    })
    .join("\n    ");
}

/** Sums of a thread as vec4s, for any kind of entries. */
function sumsOf(v: MatmulVariant) {
  const { rows, cols } = v.tile;
  const entries = range(rows).flatMap((i) => range(cols / 4).map((g) => [i, g] as const));
  // b transposed: accumulators are single columns, `lanes` apart, but are still summed as vec4s.
  const name = (i: number, g: number) => (v.transB ? `sum${i}_${g}` : `acc${i}_${g}`);
  const four = (i: number, g: number) => range(4).map((e) => `acc${i}_${4 * g + e}`);
  return {
    entries,
    name,
    before: v.transB ? entries.map(([i, g]) => `var ${name(i, g)} = vec4f(${four(i, g)});`) : [],
    after: v.transB ? entries.flatMap(([i, g]) => four(i, g).map((acc, e) => `${acc} = ${name(i, g)}[${e}];`)) : [],
  };
}

/** Loop over the slabs: short, so that what a compiler makes of it stays in the instruction cache. @param steps WGSL, of the last slabs */
function multiply(v: MatmulVariant, transA: boolean, steps?: string): string {
  const fours = v.tile.stage / 4;
  // a number of turns that is not known beforehand keeps what is short from being unrolled; for all steps, on CPU adapters
  const known = v.fours ? `${fours}u * min(params.m, 1u)` : `${fours}u`;
  const [turns, q] = steps ? [`(${steps} + 3u) / 4u`, `min(turn, ${fours - 1}u)`] : [known, "turn"];
  return `for (var turn = 0u; turn < ${turns}; turn++) {
      let q = ${q};
      ${products(v, transA)}
    }`;
}

/** Products of four steps of the slabs, the fours q. @param transA layout of `a`: decides its slab's skew */
function products(v: MatmulVariant, transA: boolean): string {
  const { rows, cols, lanes, compute } = v.tile;
  const { entries, name } = sumsOf(v);
  const vec = vec4Of(v);
  const at = (side: Side, e: number, offset: number) => {
    return `q * ${4 * side.width + side.skew}u + ${e * side.width + offset}u`;
  };
  const [left, right] = [sideOf(v, "a", transA), sideOf(v, "b")];
  const lines: string[] = [];
  for (const e of range(4)) {
    for (const h of range(rows / 4)) lines.push(`let u${e}_${h} = aSlab[down + ${at(left, e, h)}];`);
    for (const g of range(cols / 4)) lines.push(`let w${e}_${g} = bSlab[local.x + ${at(right, e, g * lanes)}];`);
    if (compute === "f16") continue;
    for (const [i, g] of entries)
      lines.push(`${name(i, g)} = fma(vec4f(u${e}_${i >> 2}[${i & 3}]), w${e}_${g}, ${name(i, g)});`);
  }
  if (compute === "f16") {
    for (const [i, g] of entries) {
      const run = range(4).reduce((to, e) => {
        const factors = `${vec}(u${e}_${i >> 2}[${i & 3}]), w${e}_${g}`;
        return to === "" ? `${factors.replace(", w", " * w")}` : `fma(${factors}, ${to})`;
      }, "");
      lines.push(`${name(i, g)} += vec4f(${run});`);
    }
  }
  return lines.join("\n      ");
}

/** Loop over a short sum with zeros past its ends, one slab at a time. */
function guardedLoop(v: MatmulVariant, o: Operands): string {
  const { stage, cols, lanes } = v.tile;
  const vec = vec4Of(v);
  const moves = piecesOf(v).map(({ side: { name }, guard: usual, ...place }) => {
    const side = sideOf(v, name, o.transA);
    const n = Number(/\d+$/.exec(place.id));
    const {
      guard,
      o: out,
      q,
    } = side.alongSum === sideOf(v, name).alongSum ? { guard: usual, ...place } : placeOf(v, side, n);
    const [of, ld, at, end] = name === "a" ? [o.a, o.lda, o.aAt, "params.m"] : [o.b, o.ldb, o.bAt, "n"];
    const line = (e: number) => {
      const value = `var line${e} = ${vec}();`;
      if (!side.alongSum) {
        const base = `${name === "a" ? "tileRow" : "tileCol"} + ${out} * 4u`;
        const step = `slab + ${q} * 4u + ${e}u`;
        return `${value} if (${step} < ${o.k}) { line${e} = ${of}Four(${base}, ${step}, ${end}, ${at}, ${ld}); }`;
      }
      const paired = o.half !== undefined && name === "b"; // the other half of the columns has zeros
      const place = `${out} % ${lanes}u + (${out} / ${lanes}u * 4u + ${e}u) * ${lanes}u`;
      const index = paired ? `tileCol / 2u + (${place}) % ${(cols * lanes) / 2}u` : outer(v, side, out, e);
      const last = paired ? `n / 2u && (${place}) / ${(cols * lanes) / 2}u == ${o.half}u` : end;
      return `${value} { let index = ${index}; if (index < ${last}) { line${e} = ${of}Four(index, slab + ${q} * 4u, ${o.k}, ${at}, ${ld}); } }`;
    };
    const turned = (e: number) => (side.alongSum ? `${vec}(${range(4).map((i) => `line${i}[${e}]`)})` : `line${e}`);
    return `${guard}{
      ${range(4).map(line).join("\n      ")}
      let to = ${q} * ${4 * side.width + side.skew}u + ${out};
      ${range(4)
        .map((e) => `${name}Slab[to + ${e * side.width}u] = ${turned(e)};`)
        .join(" ")}
    }`;
  });
  return `for (var slab = ${o.from}; slab < ${o.k}; slab += ${stage}u) {
    workgroupBarrier();
    ${moves.join("\n    ")}
    workgroupBarrier();
    ${multiply(v, o.transA, `min(${o.k} - slab, ${stage}u)`)}
  }`;
}

/** Loops over the low-rank part of the sum: one loop, or for swiglu one per half of the columns. */
export function stagedLow(v: MatmulVariant): string {
  const own = ownOf(v);
  const { before, after } = sumsOf(v);
  const loops = range(v.pairs === "swiglu" ? 2 : 1).map((h) => {
    const of = (field: "r" | "a2At" | "b2At") => (v.pairs === "swiglu" ? `params.${field}${h}` : own(field));
    return `{
  let lowAt = ${of("a2At")};
  let low2At = ${of("b2At")};
  let rank = ${of("r")};
  ${guardedLoop(v, {
    a: "a2",
    b: "b2",
    lda: "params.lda2",
    ldb: v.transB ? "rank" : "n",
    aAt: "lowAt",
    bAt: "low2At",
    transA: false,
    from: "0u",
    k: "rank",
    half: v.pairs === "swiglu" ? h : undefined,
  })}
  }`;
  });
  return `{
  let down = local.y * ${v.tile.rows / 4}u;
  ${before.join("\n  ")}
  ${loops.join("\n  ")}
  ${after.join("\n  ")}
  }`;
}

/**
 * Loop over the whole sum through workgroup memory, one slab of `stage` steps at a time. The last, partial slab comes first:
 * after the loop, it would cost RDNA 2 two of its eight waves.
 */
export function stagedLoop(v: MatmulVariant): string {
  const { rows, stage } = v.tile;
  const { before, after } = sumsOf(v);
  const rest = { a: "a", b: "b", lda: "params.lda", ldb: "params.ldb", aAt: "aAt", bAt: "bAt", k: "end" } as const;
  return `{
  let down = local.y * ${rows / 4}u;
  let begin = ${v.split ? "min(group.z * params.splitSteps, k)" : "0u"};
  let end = ${v.split ? "min(begin + params.splitSteps, k)" : "k"};
  let whole = begin + (end - begin) / ${stage}u * ${stage}u;
  ${before.join("\n  ")}
  ${v.tail ? guardedLoop(v, { ...rest, transA: v.transA, from: "whole" }) : ""}
  {
  ${pieceLets(v)}
  if (whole > begin) {
    ${loads(v, "begin")}
  }
  for (var slab = begin; slab < whole; slab += ${stage}u) {
    workgroupBarrier();
    ${stores(v)}
    workgroupBarrier();
    if (slab + ${stage}u < whole) { // load the next slab while this one is multiplied
    ${loads(v, `slab + ${stage}u`)}
    }
    ${multiply(v, v.transA)}
  }
  }
  ${after.join("\n  ")}
  }`;
}
