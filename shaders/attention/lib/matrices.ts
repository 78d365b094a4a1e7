import type { SubgroupMatrix } from "../../matmul/lib/variant.ts";
import { range } from "./tiles.ts";

// Code of attention on matrix units. Operands are f16 rows as pack_rows writes them, each times a power of two; sums are f32.
//
// A workgroup has `groups` × 16 own rows and walks over the rows of the other side, `lanes` × 16 at once. Its subgroups form
// a box of groups × lanes × parts: a subgroup computes scores of 16 own rows with 16 rows of the other side, over its part of
// a head, and stores them; threads add the parts, and store what they make of the scores as f16 in `left`. Then a subgroup
// multiplies the scores of its own rows with its share of the head's columns of the other side, which lie in `slab` turned.
// A matrix's elements have no known place in a subgroup, so all that is not a product goes through workgroup memory.
//
// Sums of a row stay in matrices from the first row of the other side to the last, so their scale is a guess: a power of
// two per row, from the first scores. It is corrected, with the sums, when scores grow by 2^12 above it, which is rare.

/** Compile-time parameters of a variant. */
export interface AttentionMatrixVariant {
  /** elements of a head */
  headDim: number;
  /** query heads */
  heads: number;
  /** key and value heads; divides `heads` */
  kvHeads: number;
  /** a row sees its sequence up to itself, instead of all of it */
  causal: boolean;
  matrix: SubgroupMatrix;
  /** subgroups along the own rows, along the rows of the other side, and along a head */
  groups: number;
  lanes: number;
  parts: number;
}

/** Elements of a packed head are padded with zeros to a multiple of this. */
const PADDED = 32;

/** Elements of a packed head. */
export const packedWidth = (headDim: number) => PADDED * Math.ceil(headDim / PADDED);

/** Sizes of a variant's workgroup, and of its blocks in workgroup memory: rows are 16 bytes longer than their elements. */
export function matrixSizes(v: Omit<AttentionMatrixVariant, "heads" | "kvHeads" | "causal">) {
  const { matrix, groups, lanes, parts } = v;
  const [blockRows, blockCols] = [Math.max(16, matrix.m), Math.max(16, matrix.n)];
  const width = packedWidth(v.headDim);
  const [rows, others] = [blockRows * groups, blockCols * lanes];
  const shares = lanes * parts;
  const subgroups = groups * shares;
  const threads = subgroups * matrix.size;
  const [along, share] = [width / parts, width / shares];
  const [ldAlong, ldOthers, ldScores] = [along + 8, others + 8, blockCols + 4];
  return {
    blockRows,
    blockCols,
    /** elements of a packed head */
    width,
    /** own rows, and rows of the other side at once */
    rows,
    others,
    /** blocks of `slab`: columns that a subgroup's sums share a head by */
    shares,
    subgroups,
    threads,
    /** a head's elements in a part, and a head's columns in a share */
    along,
    share,
    ldAlong,
    ldOthers,
    ldScores,
    /** elements of blocks in workgroup memory */
    slab: Math.max(blockCols * ldAlong, share * ldOthers),
    left: blockRows * ldOthers,
    scores: blockRows * ldScores,
    /** threads of an own row, and scores of each */
    per: threads / rows,
    columns: others / (threads / rows),
  };
}

/** Bytes of workgroup memory of a variant. */
export function attentionMatrixBytes(v: Parameters<typeof matrixSizes>[0]): number {
  const s = matrixSizes(v);
  const halves = s.shares * s.slab + v.groups * s.left;
  return 2 * halves + 4 * s.subgroups * s.scores + 8 * s.rows * s.per + 8 * s.rows + 16 * s.others + 16;
}

/** Rows of a packed buffer: its name as four-element words, elements between rows, and WGSL of a head's first element. */
interface PackedRows {
  buffer: string;
  stride: number;
  at: string;
}

const text = (lines: readonly string[]) => lines.join("\n    ");

/** A thread's moves of rows of the other side: four elements of a row, or of four rows. */
function moves(threads: number, count: number): { id: number; unit: string; guard: string }[] {
  return range(Math.ceil(count / threads)).map((id) => {
    const at = id === 0 ? "thread" : `(thread + ${id * threads}u)`;
    const all = (id + 1) * threads <= count;
    return { id, unit: all ? at : `(${at} % ${count}u)`, guard: all ? "" : `if (${at} < ${count}u) ` };
  });
}

/** How a workgroup's threads move rows of the other side into `slab`. */
function movePieces(v: AttentionMatrixVariant) {
  const { parts } = v;
  const s = matrixSizes(v);
  const { threads, blockCols, along, share, ldAlong, ldOthers } = s;
  return {
    /** rows of the other side on their way: loads into `{id}…`, and stores into `slab`, a row's elements adjacent */
    straight(id: string, { buffer, stride, at }: PackedRows, first: string, end: string) {
      const quads = s.width / 4;
      const all = moves(threads, s.others * quads);
      return {
        load: text(
          all.map(
            ({ id: n, unit }) =>
              `let ${id}${n} = ${buffer}[(min(${first} + ${unit} / ${quads}u, ${end} - 1u) * ${stride}u + ${at}) / 4u + ${unit} % ${quads}u];`,
          ),
        ),
        store: text(
          all.map(({ id: n, unit, guard }) => {
            const [key, quad] = [`${unit} / ${quads}u`, `${unit} % ${quads}u`];
            const perPart = along / 4;
            const to = `slab[${key} / ${blockCols}u * ${parts}u + ${quad} / ${perPart}u]`;
            return `${guard}{ let w = bitcast<vec4<f16>>(${id}${n}); let at = ${key} % ${blockCols}u * ${ldAlong}u + ${quad} % ${perPart}u * 4u; ${range(
              4,
            )
              .map((e) => `${to}[at + ${e}u] = w[${e}];`)
              .join(" ")} }`;
          }),
        ),
      };
    },
    /** the same, a column's elements adjacent */
    turned(id: string, { buffer, stride, at }: PackedRows, first: string, end: string) {
      const fours = s.others / 4;
      const all = moves(threads, (fours * s.width) / 4);
      const perShare = share / 4;
      return {
        load: text(
          all.flatMap(({ id: n, unit }) =>
            range(4).map(
              (e) =>
                `let ${id}${n}_${e} = ${buffer}[(min(${first} + ${unit} % ${fours}u * 4u + ${e}u, ${end} - 1u) * ${stride}u + ${at}) / 4u + ${unit} / ${fours}u];`,
            ),
          ),
        ),
        store: text(
          all.map(({ id: n, unit, guard }) => {
            const quad = `${unit} / ${fours}u`;
            const words = range(4).map((e) => `let w${e} = bitcast<vec4<f16>>(${id}${n}_${e});`);
            const puts = range(4).flatMap((c) =>
              range(4).map((e) => `slab[${quad} / ${perShare}u][at + ${c * ldOthers + e}u] = w${e}[${c}];`),
            );
            return `${guard}{ ${words.join(" ")} let at = ${quad} % ${perShare}u * ${4 * ldOthers}u + ${unit} % ${fours}u * 4u; ${puts.join(" ")} }`;
          }),
        ),
      };
    },
  };
}

/** Products, and what goes through workgroup memory around them. */
function productPieces(v: AttentionMatrixVariant) {
  const { matrix, parts } = v;
  const { m: M, n: N, k: K, emulate = false, older = false } = matrix;
  const s = matrixSizes(v);
  const { threads, shares, subgroups, blockRows, blockCols, along, share, ldAlong, ldOthers, ldScores } = s;
  const [down, across] = [range(blockRows / M), range(blockCols / N)];
  /** matrices of a subgroup's sums */
  const sums = down.flatMap((i) => range(share / N).map((j) => [i, j] as const));
  const load = (as: string, from: string, offset: string, ld: number, column: boolean) =>
    older
      ? `subgroupMatrixLoad<${as}>(${from}, ${offset}, ${column}, ${ld}u)`
      : `subgroupMatrixLoad<${as}, ${column ? "col_major" : "row_major"}>(${from}, ${offset}, ${ld}u)`;
  const store = (to: string, offset: string, value: string, ld: number) =>
    older
      ? `subgroupMatrixStore(${to}, ${offset}, ${value}, false, ${ld}u);`
      : `subgroupMatrixStore<row_major>(${to}, ${offset}, ${value}, ${ld}u);`;

  /**
   * Each matrix of sums through `scores`; `change` works on the element `at` of `owner`, of own row r. Spelled out, they are
   * an array: unrolled, a CPU adapter compiles them for minutes.
   *
   * @param change WGSL from that of a matrix's first column
   */
  const passes = (sum: string, change: (column: string) => string, back: boolean) => {
    const pass = (name: string, firstRow: string, firstColumn: string) => `
    ${emulate ? `put(${name}, sub, lane);` : store("&scores[sub]", "0u", name, ldScores)}
    workgroupBarrier();
    for (var e = thread; e < ${subgroups * M * N}u; e += ${threads}u) {
      let owner = e / ${M * N}u;
      let at = e / ${N}u % ${M}u * ${ldScores}u + e % ${N}u;
      let r = owner / ${shares}u * ${blockRows}u + ${firstRow} + e / ${N}u % ${M}u;
      ${change(firstColumn)}
    }
    workgroupBarrier();
    ${back ? `${name} = ${emulate ? "take(sub, lane)" : load("Result", "&scores[sub]", "0u", ldScores, false)};` : ""}`;
    if (!emulate) return text(sums.map(([i, j]) => pass(`${sum}${i}_${j}`, `${i * M}u`, `${j * N}u`)));
    const cols = share / N;
    return `for (var one = 0u; one < ${sums.length}u * min(params.tokens, 1u); one++) { ${pass(`${sum}[one]`, `one / ${cols}u * ${M}u`, `one % ${cols}u * ${N}u`)} }`;
  };

  return {
    /** `{name}At`, and matrices of the own rows of a head, kept in registers. @param at WGSL of the head's number in a row */
    own(name: string, buffer: string, perRow: number, at: string): string {
      const stride = perRow * s.width;
      return text([
        `let ${name}At = ((tile + ownGroup * ${blockRows}u) * ${perRow}u + ${at}) * ${s.width}u + block % ${parts}u * ${along}u;`,
        ...(emulate
          ? []
          : down.flatMap((i) =>
              range(along / K).map((c) => {
                const offset = `${name}At + ${i * M * stride + c * K}u`;
                return `let ${name}${i}_${c} = ${load("Left", `&${buffer}`, offset, stride, false)};`;
              }),
            )),
      ]);
    },
    /** stores scores of a subgroup's own rows with its rows of the other side. @param name of the own rows, in `buffer` */
    dots(name: string, buffer: string): string {
      const every = down.flatMap((i) => across.map((j) => [i, j] as const));
      if (emulate) return `${buffer}Dots(${name}At, block, sub, lane);`;
      return `{
      ${text(every.map(([i, j]) => `var dots${i}_${j} = Result();`))}
      ${text(
        range(along / K).flatMap((c) =>
          across.flatMap((j) => [
            `let right${c}_${j} = ${load("Right", "&slab[block]", `${j * N * ldAlong + c * K}u`, ldAlong, true)};`,
            ...down.map(
              (i) =>
                `dots${i}_${j} = subgroupMatrixMultiplyAccumulate(${name}${i}_${c}, right${c}_${j}, dots${i}_${j});`,
            ),
          ]),
        ),
      )}
      ${text(every.map(([i, j]) => store("&scores[sub]", `${i * M * ldScores + j * N}u`, `dots${i}_${j}`, ldScores)))}
    }`;
    },
    /** `{sum}…`: matrices of a subgroup's sums */
    sums: (sum: string) =>
      emulate ? `var ${sum} = Sums();` : text(sums.map(([i, j]) => `var ${sum}${i}_${j} = Result();`)),
    /** adds the products of `left` and what is turned in `slab` */
    blend(sum: string): string {
      if (emulate) return `blend(ownGroup, block, &${sum}, lane);`;
      return `{ ${text(
        range(s.others / K).flatMap((c) => [
          ...down.map(
            (i) =>
              `let left${c}_${i} = ${load("Left", "&left[ownGroup]", `${i * M * ldOthers + c * K}u`, ldOthers, false)};`,
          ),
          ...range(share / N).flatMap((j) => [
            `let right${c}_${j} = ${load("Right", "&slab[block]", `${j * N * ldOthers + c * K}u`, ldOthers, true)};`,
            ...down.map(
              (i) =>
                `${sum}${i}_${j} = subgroupMatrixMultiplyAccumulate(left${c}_${i}, right${c}_${j}, ${sum}${i}_${j});`,
            ),
          ]),
        ]),
      )} }`;
    },
    /** multiplies each row of sums by its factor. @param which x or y of `factors` */
    rescale: (sum: string, which: "x" | "y") => passes(sum, () => `scores[owner][at] *= factors[r].${which};`, true),
    /** stores sums, times their row's factor. @param to WGSL of the element that `own` (row) and `column` have */
    finish: (sum: string, which: "x" | "y", to: string) =>
      passes(
        sum,
        (first) => `let own = tile + r;
      let column = owner % ${shares}u * ${share}u + ${first} + e % ${N}u;
      if (own < params.tokens && column < ${v.headDim}u) { ${to} = factors[r].${which} * scores[owner][at]; }`,
        false,
      ),
  };
}

/** Code shared by the three kernels. */
export function matrixPieces(v: AttentionMatrixVariant) {
  const { matrix, lanes, parts } = v;
  const { m: M, n: N, k: K, size, emulate = false, asks = false } = matrix;
  const s = matrixSizes(v);
  const { threads, shares, subgroups, blockRows, blockCols, ldOthers, ldScores } = s;
  return {
    ...s,
    ...movePieces(v),
    ...productPieces(v),
    group: v.heads / v.kvHeads,
    /** packed heads of a row of qkv */
    all: v.heads + 2 * v.kvHeads,
    enable: `${emulate ? "" : "enable chromium_experimental_subgroup_matrix;\n"}${!emulate && asks ? "enable subgroups;\nenable subgroup_size_control;\n" : ""}enable f16;
${emulate ? "" : "diagnostic(off, chromium.subgroup_matrix_uniformity); // a subgroup's index is the same for all its threads"}`,
    declare: `
var<workgroup> slab: array<array<f16, ${s.slab}>, ${shares}>;
var<workgroup> left: array<array<f16, ${s.left}>, ${v.groups}>;
var<workgroup> scores: array<array<f32, ${s.scores}>, ${subgroups}>;
var<workgroup> tops: array<vec2f, ${s.rows * s.per}>;
var<workgroup> factors: array<vec2f, ${s.rows}>;
var<workgroup> facts: array<vec4f, ${s.others}>; // of rows of the other side
var<workgroup> grown: u32; // every thread that writes it writes the same
${
  emulate
    ? emulated(v)
    : `alias Left = subgroup_matrix_left<f16, ${K}, ${M}>;
alias Right = subgroup_matrix_right<f16, ${N}, ${K}>;
alias Result = subgroup_matrix_result<f32, ${N}, ${M}>;`
}`,
    main: `
@compute @workgroup_size(${threads}) ${!emulate && asks ? `@subgroup_size(${size})` : ""}
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
  ${emulate ? "" : "@builtin(subgroup_id) subgroup: u32,"}
) {
  let sub = ${emulate ? `thread / ${size}u` : `subgroup % ${subgroups}u`};
  ${emulate ? `let lane = thread % ${size}u;` : ""}
  let ownGroup = sub / ${shares}u;
  let block = sub % ${shares}u; // of slab: in scores rows of the other side and part of a head, in sums a share of its columns
  let head = group.y;
  let tile = (group.x + params.firstTile) * ${s.rows}u;
  let tileEnd = min(tile + ${s.rows}u, params.tokens);
  let r = thread / ${s.per}u;
  let quarter = thread % ${s.per}u;
  let row = min(tile + r, params.tokens - 1u);`,
    /** WGSL of each of a thread's scores: the parts' sum */
    score(c: number): string {
      const from = `(r / ${blockRows}u * ${lanes}u + quarter * ${s.columns}u / ${blockCols}u) * ${parts}u`;
      const at = `r % ${blockRows}u * ${ldScores}u + quarter * ${s.columns}u % ${blockCols}u + ${c}u`;
      return range(parts)
        .map((p) => `scores[${from} + ${p}u][${at}]`)
        .join(" + ");
    },
    /** number of a thread's score c among the rows of the other side */
    other: (c: number) => `quarter * ${s.columns}u + ${c}u`,
    /** a thread's scores, by index */
    each: (line: (c: number) => string) => text(range(s.columns).map(line)),
    /** writes a thread's processed scores into `left` */
    put: (value: (c: number) => string) =>
      text(
        range(s.columns).map(
          (c) =>
            `left[r / ${blockRows}u][r % ${blockRows}u * ${ldOthers}u + quarter * ${s.columns}u + ${c}u] = f16(${value(c)});`,
        ),
      ),
    /** `{name}`: of all threads of the row */
    fold: (name: string, operation: (a: string, b: string) => string) =>
      text([
        `var ${name} = tops[r * ${s.per}u];`,
        ...range(s.per - 1).map((t) => `${name} = ${operation(name, `tops[r * ${s.per}u + ${t + 1}u]`)};`),
      ]),
  };
}

/** The builtins spelled out: each thread has its elements of a matrix, as products have them. */
function emulated(v: AttentionMatrixVariant): string {
  const { m: M, n: N, size } = v.matrix;
  const { others, share, blockRows, ldOthers, ldScores } = matrixSizes(v);
  const [own, cols] = [(M * N) / size, share / N];
  const place = `let at = e * ${size}u + lane;`;
  return `
alias Result = array<f32, ${own}>;
alias Sums = array<Result, ${(blockRows / M) * cols}>;
fn blend(group: u32, block: u32, sums: ptr<function, Sums>, lane: u32) {
  let once = min(params.tokens, 1u); // without this, Mesa unrolls these loops and compiles for minutes
  for (var one = 0u; one < ${(blockRows / M) * cols}u * once; one++) {
  for (var e = 0u; e < ${own}u * once; e++) {
    ${place}
    let a = (one / ${cols}u * ${M}u + at / ${N}u) * ${ldOthers}u;
    let b = (one % ${cols}u * ${N}u + at % ${N}u) * ${ldOthers}u;
    var sum = (*sums)[one][e];
    for (var s = 0u; s < ${others}u * once; s++) { sum = fma(f32(left[group][a + s]), f32(slab[block][b + s]), sum); }
    (*sums)[one][e] = sum;
  }
  }
}
fn put(sum: Result, sub: u32, lane: u32) {
  for (var e = 0u; e < ${own}u; e++) { ${place} scores[sub][at / ${N}u * ${ldScores}u + at % ${N}u] = sum[e]; }
}
fn take(sub: u32, lane: u32) -> Result {
  var sum = Result();
  for (var e = 0u; e < ${own}u; e++) { ${place} sum[e] = scores[sub][at / ${N}u * ${ldScores}u + at % ${N}u]; }
  return sum;
}
`;
}

/** The spelled-out scores of own rows of one buffer. @param perRow packed heads of its rows */
export function emulatedDots(v: AttentionMatrixVariant, buffer: string, perRow: number): string {
  if (!v.matrix.emulate) return "";
  const { size } = v.matrix;
  const { along, width, blockRows, blockCols, ldAlong, ldScores } = matrixSizes(v);
  return `
fn ${buffer}Dots(ownAt: u32, block: u32, sub: u32, lane: u32) {
  let once = min(params.tokens, 1u);
  for (var at = lane; at < ${blockRows * blockCols}u; at += ${size}u) {
    let a = ownAt + at / ${blockCols}u * ${perRow * width}u;
    let b = at % ${blockCols}u * ${ldAlong}u;
    var sum = 0.0;
    for (var s = 0u; s < ${along}u * once; s++) { sum = fma(f32(${buffer}[a + s]), f32(slab[block][b + s]), sum); }
    scores[sub][at / ${blockCols}u * ${ldScores}u + at % ${blockCols}u] = sum;
  }
}`;
}
