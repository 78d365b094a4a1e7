import { range } from "./loops.ts";
import type { MatmulVariant } from "./variant.ts";

// The inner loop of matmul through workgroup memory, for GPUs.
//
// Slabs hold `stage` steps of the tile's rows and columns, step by step, four outputs per vec4. Threads move them in
// pieces of four steps by four outputs. Operands that are contiguous along the sum are transposed in registers, and
// their vec4s are swizzled so that eight neighbouring threads write to eight different groups of banks. The next slab
// is loaded while the current one is multiplied. Sums run over the steps in the same order as in the direct loop, with
// the same bits.

/** One operand's slab. */
interface Side {
  name: "a" | "b";
  /** vec4s per slab row */
  width: number;
  /** stored with the sum along rows */
  alongSum: boolean;
  /** vec4s of piece q of the sum are shifted by (q · swizzle) & 7; 0 = none */
  swizzle: number;
  /** pieces of four steps by four outputs */
  pieces: number;
}

function sideOf({ tile: { rows, cols, lanes, groups, stage }, transA, transB }: MatmulVariant, name: "a" | "b"): Side {
  const width = (name === "a" ? rows * groups : cols * lanes) / 4;
  const alongSum = name === "a" ? !transA : transB;
  // threads at neighbouring steps would conflict in a bank; b's are shifted within eight lanes
  const swizzled = alongSum && width % 8 === 0 && (name === "a" || lanes % 8 === 0);
  return {
    name,
    width,
    alongSum,
    swizzle: swizzled ? Math.max(1, Math.floor(32 / stage)) : 0,
    pieces: (width * stage) / 4,
  };
}

const vec4Of = (v: MatmulVariant) => (v.tile.compute === "f16" ? "vec4<f16>" : "vec4f");

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
  return (["a", "b"] as const)
    .map((name) => {
      const { width, alongSum } = sideOf(v, name);
      return `
var<workgroup> ${name}Slab: array<${vec4Of(v)}, ${width * v.tile.stage}>;${fourLoads(name, alongSum, vec4Of(v), v.dropout === name, !v.tail)}`;
    })
    .join("");
}

/**
 * Positions of threads in pieces, and loads of one piece into registers `{name}{n}_0 … 3`, one vec4 of outputs per
 * step.
 */
function loadPiece(v: MatmulVariant, side: Side, n: number): string {
  const { name, alongSum } = side;
  const { lanes } = v.tile;
  const { o, q } = placeOf(v, side, n);
  const s = `slab + ${q} * 4u`;
  if (!alongSum) {
    const base = name === "a" ? "tileRow" : "tileCol";
    const bound = name === "a" ? "params.m" : "n";
    return range(4)
      .map((e) => {
        const step = `${s} + ${e}u`;
        return `${name}${n}_${e} = ${vec4Of(v)}();
      if (${step} < k) { ${name}${n}_${e} = ${name}Four(${base} + ${o} * 4u, ${step}, ${bound}, ${name}At, params.ld${name}); }`;
      })
      .join("\n      ");
  }
  // A thread's columns are `lanes` apart, so that neighbouring threads store neighbours; so are the four of a vec4.
  const row = (e: number): { index: string; inside: string; before?: string } => {
    if (name === "a") return { index: `tileRow + ${o} * 4u + ${e}u`, inside: `tileRow + ${o} * 4u + ${e}u < params.m` };
    const place = `${o} % ${lanes}u + (${o} / ${lanes}u * 4u + ${e}u) * ${lanes}u`;
    if (v.pairs === "none") return { index: `tileCol + ${place}`, inside: `tileCol + ${place} < n` };
    const of = `column${n}_${e}`;
    return { before: `let ${of} = column(tileCol, ${place}, n);`, index: of, inside: `${of} < n` };
  };
  const rows = range(4).map((e) => {
    const { index, inside, before = "" } = row(e);
    return `${before}
      var line${e} = ${vec4Of(v)}();
      if (${inside}) { line${e} = ${name}Four(${index}, ${s}, k, ${name}At, params.ld${name}); }`;
  });
  const turned = range(4).map(
    (e) => `${name}${n}_${e} = ${vec4Of(v)}(${range(4).map((outer) => `line${outer}[${e}]`)});`,
  );
  return `${rows.join("\n      ")}
      ${turned.join("\n      ")}`;
}

/** WGSL of the slab position of a thread's piece n: o is its vec4 along the output, q its four steps. */
function placeOf({ tile: { lanes, groups, stage } }: MatmulVariant, side: Side, n: number) {
  const threads = lanes * groups;
  const first = side.name === "b" && side.pieces % threads !== 0 ? "far" : "thread";
  const t = n === 0 ? first : `(${first} + ${n * threads}u)`;
  return side.alongSum
    ? { t, o: `(${t} / ${stage / 4}u)`, q: `(${t} % ${stage / 4}u)` } // neighbours read consecutive elements of a row
    : { t, o: `(${t} % ${side.width}u)`, q: `(${t} / ${side.width}u)` };
}

/** Loop over the whole sum through workgroup memory, one slab of `stage` steps at a time. */
export function stagedLoop(v: MatmulVariant): string {
  const { rows, cols, lanes, groups, stage, compute } = v.tile;
  const threads = lanes * groups;
  const sides = (["a", "b"] as const).map((name) => sideOf(v, name));
  const [left, right] = sides;
  const vec = vec4Of(v);

  const each = (text: (side: Side, n: number) => string) =>
    sides
      .flatMap((side) =>
        range(Math.ceil(side.pieces / threads)).map((n) => {
          const whole = (n + 1) * threads <= side.pieces;
          return whole
            ? `{ ${text(side, n)} }`
            : `if (${placeOf(v, side, n).t} < ${side.pieces}u) { ${text(side, n)} }`;
        }),
      )
      .join("\n    ");
  const registers = sides.flatMap((side) =>
    range(Math.ceil(side.pieces / threads)).flatMap((n) =>
      range(4).map((e) => `var ${side.name}${n}_${e} = ${vec}();`),
    ),
  );
  const load = each((side, n) => loadPiece(v, side, n));
  const store = each((side, n) => {
    const { o, q } = placeOf(v, side, n);
    const at = side.swizzle > 0 ? `(${o} ^ ((${q} * ${side.swizzle}u) & 7u))` : o;
    return range(4)
      .map((e) => `${side.name}Slab[(${q} * 4u + ${e}u) * ${side.width}u + ${at}] = ${side.name}${n}_${e};`)
      .join("\n      ");
  });

  // b transposed: accumulators are single columns, `lanes` apart, but are still summed as vec4s.
  const entries = range(rows).flatMap((i) => range(cols / 4).map((g) => [i, g] as const));
  const sum = (i: number, g: number) => (v.transB ? `sum${i}_${g}` : `acc${i}_${g}`);
  const four = (i: number, g: number) => range(4).map((e) => `acc${i}_${4 * g + e}`);
  const before = v.transB ? entries.map(([i, g]) => `var ${sum(i, g)} = vec4f(${four(i, g)});`) : [];
  const after = v.transB ? entries.flatMap(([i, g]) => four(i, g).map((acc, e) => `${acc} = ${sum(i, g)}[${e}];`)) : [];

  const place = (side: Side, at: string) => (side.swizzle > 0 ? `(${at} ^ ((q * ${side.swizzle}u) & 7u))` : at);
  const products: string[] = [
    ...range(rows / 4).map((h) => `let at${h} = ${place(left, `(local.y * ${rows / 4}u + ${h}u)`)};`),
    `let across = ${place(right, "local.x")};`,
  ];
  for (const e of range(4)) {
    for (const h of range(rows / 4))
      products.push(`let u${e}_${h} = aSlab[(q * 4u + ${e}u) * ${left.width}u + at${h}];`);
    for (const g of range(cols / 4))
      products.push(`let w${e}_${g} = bSlab[(q * 4u + ${e}u) * ${right.width}u + across + ${g * lanes}u];`);
    if (compute === "f16") continue;
    for (const [i, g] of entries)
      products.push(`${sum(i, g)} = fma(vec4f(u${e}_${i >> 2}[${i & 3}]), w${e}_${g}, ${sum(i, g)});`);
  }
  if (compute === "f16") {
    for (const [i, g] of entries) {
      const run = range(4).reduce((to, e) => {
        const factors = `${vec}(u${e}_${i >> 2}[${i & 3}]), w${e}_${g}`;
        return to === "" ? `${factors.replace(", w", " * w")}` : `fma(${factors}, ${to})`;
      }, "");
      products.push(`${sum(i, g)} += vec4f(${run});`);
    }
  }
  return `{
  // if there are pieces for only half of the threads, the other half moves b's
  let far = (thread + ${threads / 2}u) % ${threads}u;
  ${[...before, ...registers].join("\n  ")}
  for (var slab = 0u; ; slab += ${stage}u) {
    if (slab < k) {
    ${load}
    }
    if (slab > 0u) { // multiply the previous slab while this one loads
    for (var q = 0u; q < ${stage / 4}u; q++) {
      ${products.join("\n      ")}
    }
    }
    if (slab >= k) { break; }
    workgroupBarrier();
    ${store}
    workgroupBarrier();
  }
  ${after.join("\n  ")}
  }`;
}
