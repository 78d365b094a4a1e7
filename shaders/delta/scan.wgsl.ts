import { addRows, CHUNK, type DeltaVariant, lines, NONE, places, ROWS, range, SOLVED } from "./rule.ts";

/** Vec4s of a slice: 16 columns of the state, which lie in workgroup memory. */
const SLICE = 4;
const THREADS = 16 * SLICE;

/** Compile-time parameters of a variant. */
interface DeltaScanVariant extends DeltaVariant {
  /** also written: what the backward pass needs, the states at the ends, or nothing */
  keeps: "chunks" | "ends" | "nothing";
}

/** Pieces of WGSL that both directions share. A thread has four rows of a chunk, `ty` of 16, and a vec4 of columns, `cg` of 4. */
function pieces(v: DeltaVariant) {
  const p = places(v);
  const own = range(Math.ceil(p.dk / 16)); // vec4s of keyDim, four rows of the state each, that a thread updates
  const quad = (n: number) => `(ty + ${16 * n}u)`;
  const cell = (n: number, s: number) => `state[(4u * ${quad(n)} + ${s}u) * ${SLICE}u + cg]`;
  const within = (n: number, body: string) =>
    16 * (n + 1) <= p.dk ? `{ ${body} }` : `if (${quad(n)} < params.quads) { ${body} }`;
  return {
    ...p,
    state: v.keyDim * p.dv,
    declare: `
var<workgroup> state: array<vec4f, ${v.keyDim * SLICE}>; // [keyDim, 4]
var<workgroup> rows: array<vec4f, ${CHUNK * SLICE}>;     // [64, 4]
var<workgroup> factors: array<vec4f, ${CHUNK}>;

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let head = params.first + group.y;
  let ty = thread / ${SLICE}u;
  let cg = thread % ${SLICE}u;
  let column = group.z * ${SLICE}u + cg;
  let live = column < params.dv;
  let run = table[params.chunks + group.x];
  for (var d = ty; d < ${v.keyDim}u; d += 16u) { state[d * ${SLICE}u + cg] = vec4f(); }`,
    chunk: `
    let token = table[chunk].x;
    let count = table[chunk].y;
    let solved = (chunk * params.heads + group.y) * ${SOLVED}u;
    let base = token * ${p.width}u + head / ${p.perKey}u * ${p.dk}u;
    factors[thread] = solve[solved + ${2 * CHUNK * 16}u + thread];`,
    /** rows of u and of arrays by token and head, the last one again past the end */
    at: lines(
      ROWS.flatMap((r) => [
        `let i${r} = min(4u * ty + ${r}u, count - 1u); let live${r} = live && 4u * ty + ${r}u < count;`,
        `let own${r} = base + i${r} * ${p.width}u; let all${r} = ((token + i${r}) * ${v.valueHeads}u + head) * params.dv + column;`,
        `let inner${r} = ((token + i${r}) * params.heads + group.y) * params.dv + column;`,
      ]),
    ),
    /** the state into `buffer`, which has it as [keyDim, valueDim] */
    put: (buffer: string, first: string) =>
      `if (live) { for (var d = ty; d < ${v.keyDim}u; d += 16u) { ${buffer}[${first} + d * params.dv + column] = state[d * ${SLICE}u + cg]; } }`,
    /** `x{r} = matrix[4 ty + r, :] rows`, of a lower triangle */
    lower: (sum: string, matrix: number) => `
    ${lines(ROWS.map((r) => `var ${sum}${r} = vec4f();`))}
    for (var j = 0u; j <= ty; j++) {
      ${lines(ROWS.map((s) => `let w${s} = rows[(4u * j + ${s}u) * ${SLICE}u + cg];`))}
      ${lines(ROWS.map((r) => `{ let m = solve[solved + ${matrix * CHUNK * 16}u + (4u * ty + ${r}u) * 16u + j]; ${addRows(`${sum}${r}`, "m", "w")} }`))}
    }`,
    /** the same of its transpose; rows past the end must be 0 */
    upper: (sum: string, matrix: number) => `
    ${lines(ROWS.map((r) => `var ${sum}${r} = vec4f();`))}
    for (var i = 4u * ty; i < count; i += 4u) {
      ${lines(ROWS.map((s) => `let m${s} = solve[solved + ${matrix * CHUNK * 16}u + (i + ${s}u) * 16u + ty]; let w${s} = rows[(i + ${s}u) * ${SLICE}u + cg];`))}
      ${lines(ROWS.map((r) => ROWS.map((s) => `${sum}${r} += m${s}[${r}] * w${s};`).join(" ")))}
    }`,
    /** writes a thread's rows where all can read them */
    share: (value: (r: number) => string) => `
    ${lines(ROWS.map((r) => `rows[(4u * ty + ${r}u) * ${SLICE}u + cg] = ${value(r)};`))}
    workgroupBarrier();`,
    /** `state = e^G_last state + terms`, summed over the chunk's tokens, two at a time; the rows of a token past the end must be 0 */
    update: (terms: (n: number, token: number) => string, both: (token: number) => string) => `
    ${lines(own.flatMap((n) => ROWS.map((s) => `var s${n}_${s} = vec4f();`)))}
    for (var i = 0u; i < count; i += 2u) {
      ${lines(range(2).map((t) => `let at${t} = min(i + ${t}u, count - 1u); ${both(t)}`))}
      ${lines(range(2).flatMap((t) => own.map((n) => within(n, terms(n, t)))))}
    }
    let fall = factors[count - 1u].x;
    ${lines(own.map((n) => within(n, ROWS.map((s) => `${cell(n, s)} = fall * ${cell(n, s)} + s${n}_${s};`).join(" "))))}
    workgroupBarrier();`,
    key: (n: number, t: number) => `let k = u[base + at${t} * ${p.width}u + ${p.keysAt}u + ${quad(n)}];`,
    query: (n: number, t: number) => `let q = u[base + at${t} * ${p.width}u + ${quad(n)}];`,
    row: (t: number) => `rows[(i + ${t}u) * ${SLICE}u + cg]`,
    add: (n: number, x: string, w: string) => ROWS.map((s) => `s${n}_${s} += ${x}[${s}] * ${w};`).join(" "),
  };
}

// delta_scan: a sequence's chunks one after the other, for 16 columns of a head's state; see rule.ts
//
// Grid     x: sequences; y: value heads from `first` on; z: slices of 16 columns
// Shapes   u, table as in delta_chunk   solve [chunks, heads, SOLVED] vec4s   o [tokens, valueHeads, valueDim]
//          with keeps "chunks": states [2, kept, heads, keyDim, valueDim], of which the first, and inner [2, tokens, heads, valueDim],
//          of which the first, V'; with "ends": states [sequences, valueHeads, keyDim, valueDim]   quads, dv: keyDim / 4, valueDim / 4
// Writes   o, and what is kept, by assignment
// Numbers  a workgroup sees one sequence: its numbers do not depend on the others
export const deltaScan = (v: DeltaScanVariant) => {
  const p = pieces(v);
  return `
struct Params { first: u32, heads: u32, chunks: u32, quads: u32, dv: u32 }

@group(0) @binding(0) var<storage, read> u: array<vec4f>;
@group(0) @binding(1) var<storage, read> table: array<vec4u>;
@group(0) @binding(2) var<storage, read> solve: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> o: array<vec4f>;
${v.keeps === "nothing" ? "" : "@group(0) @binding(4) var<storage, read_write> states: array<vec4f>;"}
${v.keeps === "chunks" ? "@group(0) @binding(5) var<storage, read_write> inner: array<vec4f>;" : ""}
@group(0) @binding(6) var<uniform> params: Params;
${p.declare}
  for (var chunk = run.x; chunk < run.x + run.y; chunk++) {
    ${p.chunk}
    workgroupBarrier();
    ${p.at}
    ${v.keeps === "chunks" ? `if (table[chunk].z != ${NONE}u) { ${p.put("states", `(table[chunk].z * params.heads + group.y) * ${p.state}u`)} }` : ""}
    ${lines(ROWS.map((r) => `var y${r} = vec4f(); var z${r} = vec4f();`))}
    for (var d = 0u; d < params.quads; d++) {
      ${lines(ROWS.map((s) => `let t${s} = state[(4u * d + ${s}u) * ${SLICE}u + cg];`))}
      ${lines(
        ROWS.flatMap((r) => [
          `{ let k = u[own${r} + ${p.keysAt}u + d]; ${addRows(`y${r}`, "k", "t")} }`,
          `{ let q = u[own${r} + d]; ${addRows(`z${r}`, "q", "t")} }`,
        ]),
      )}
    }
    ${lines(
      ROWS.flatMap((r) => [
        `let f${r} = factors[4u * ty + ${r}u];`,
        `var v${r} = vec4f(); if (live${r}) { v${r} = u[(token + i${r}) * ${p.width}u + ${p.valuesAt}u + head * params.dv + column]; }`,
      ]),
    )}
    ${p.share((r) => `f${r}.z * (v${r} - f${r}.x * y${r})`)}
    ${p.lower("x", 0)}
    workgroupBarrier();
    ${p.share((r) => `x${r}`)}
    ${v.keeps === "chunks" ? lines(ROWS.map((r) => `if (live${r}) { inner[inner${r}] = x${r}; }`)) : ""}
    ${p.lower("out", 1)}
    ${lines(ROWS.map((r) => `if (live${r}) { o[all${r}] = f${r}.x * z${r} + out${r}; }`))}
    workgroupBarrier();
    ${p.share((r) => `f${r}.y * x${r}`)}
    ${p.update(
      (n, t) => `${p.key(n, t)} ${p.add(n, "k", `w${t}`)}`,
      (t) => `let w${t} = ${p.row(t)};`,
    )}
  }
  ${v.keeps === "ends" ? p.put("states", `(group.x * ${v.valueHeads}u + head) * ${p.state}u`) : ""}
}
`;
};

// delta_scan_backward: the chunks from the last on, with dS, the gradient of the state after a chunk
//
//   dV' = P^T dO + e^(G_last - G) K dS,  dR = T^T dV',  dV = beta dR
//   dS <- e^G_last dS - K^T (beta e^G dR) + Q^T (e^G dO)
//
// Grid     as delta_scan
// Shapes   as there; dout [tokens, valueHeads, valueDim]   du like u
// Writes   dR as the second of inner, the gradients of kept states as the second of states, the values' columns of du, by assignment
export const deltaScanBackward = (v: DeltaVariant) => {
  const p = pieces(v);
  return `
struct Params { first: u32, heads: u32, chunks: u32, quads: u32, dv: u32, tokens: u32, kept: u32 }

@group(0) @binding(0) var<storage, read> u: array<vec4f>;
@group(0) @binding(1) var<storage, read> table: array<vec4u>;
@group(0) @binding(2) var<storage, read> solve: array<vec4f>;
@group(0) @binding(3) var<storage, read> dout: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> states: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> inner: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> du: array<vec4f>;
@group(0) @binding(7) var<uniform> params: Params;
${p.declare}
  for (var left = run.y; left > 0u; left--) {
    let chunk = run.x + left - 1u;
    ${p.chunk}
    ${p.at}
    if (table[chunk].w != ${NONE}u) { ${p.put("states", `((params.kept + table[chunk].w) * params.heads + group.y) * ${p.state}u`)} }
    ${lines(ROWS.map((r) => `var o${r} = vec4f(); if (live${r}) { o${r} = dout[all${r}]; }`))}
    ${p.share((r) => `o${r}`)}
    ${p.upper("x", 1)}
    ${lines(ROWS.map((r) => `var y${r} = vec4f();`))}
    for (var d = 0u; d < params.quads; d++) {
      ${lines(ROWS.map((s) => `let t${s} = state[(4u * d + ${s}u) * ${SLICE}u + cg];`))}
      ${lines(ROWS.map((r) => `{ let k = u[own${r} + ${p.keysAt}u + d]; ${addRows(`y${r}`, "k", "t")} }`))}
    }
    ${lines(ROWS.map((r) => `let f${r} = factors[4u * ty + ${r}u]; x${r} += f${r}.y * y${r};`))}
    workgroupBarrier();
    ${p.share((r) => `x${r}`)}
    ${p.upper("dr", 0)}
    ${lines(
      ROWS.map(
        (r) => `if (live${r}) {
      inner[params.tokens * params.heads * params.dv + inner${r}] = dr${r};
      du[(token + i${r}) * ${p.width}u + ${p.valuesAt}u + head * params.dv + column] = f${r}.z * dr${r};
    }`,
      ),
    )}
    workgroupBarrier();
    ${p.share((r) => `-f${r}.z * f${r}.x * dr${r}`)}
    ${p.update(
      (n, t) => `${p.key(n, t)} ${p.query(n, t)} ${p.add(n, "k", `w${t}`)} ${p.add(n, "q", `g${t}`)}`,
      (t) =>
        `let w${t} = ${p.row(t)}; var g${t} = vec4f(); if (live) { g${t} = factors[i + ${t}u].x * dout[((token + at${t}) * ${v.valueHeads}u + head) * params.dv + column]; }`,
    )}
  }
}
`;
};
