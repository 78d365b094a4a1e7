import {
  addRows,
  CHUNK,
  chunkSums,
  columnsOf,
  type DeltaVariant,
  lines,
  NONE,
  places,
  ROWS,
  range,
  SOLVED,
} from "./rule.ts";

const THREADS = 256;

// delta_scores: gradients of A and P of a chunk, brought to what the chunk's queries and keys are summed with
//
// With dA = -dR V'^T and dP = dO V'^T: M = strictly lower part of dA beta D, N = lower part of dP D
//
// Grid     as delta_chunk
// Shapes   u, gates, table as there   dout [tokens, valueHeads, valueDim]   inner [2, tokens, heads, valueDim]: V', dR
//          solve as delta_chunk left it   dgates [tokens, valueHeads, 2]   dv: valueDim / 4
// Writes   M and N over T and P in solve; what they add to the gradients of G and beta into dgates, by assignment
export const deltaScores = (v: DeltaVariant) => {
  const p = places(v);
  return `
struct Params { first: u32, heads: u32, quads: u32, dv: u32, tokens: u32 }

@group(0) @binding(0) var<storage, read> u: array<vec4f>;
@group(0) @binding(1) var<storage, read> gates: array<vec2f>;
@group(0) @binding(2) var<storage, read> table: array<vec4u>;
@group(0) @binding(3) var<storage, read> dout: array<vec4f>;
@group(0) @binding(4) var<storage, read> inner: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> solve: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> dgates: array<vec2f>;
@group(0) @binding(7) var<uniform> params: Params;

var<workgroup> rowSums: array<vec4f, ${THREADS}>;
var<workgroup> columnSums: array<vec4f, ${THREADS}>;
var<workgroup> betaSums: array<vec4f, ${THREADS}>;
${chunkSums(v.valueHeads)}

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let head = params.first + group.y;
  let token = table[group.x].x;
  let count = table[group.x].y;
  let at = (group.x * params.heads + group.y) * ${SOLVED}u;
  loadGates(token, count, head, thread);

  let ty = thread / 16u;
  let tx = thread % 16u;
  var rows = vec4f();
  var columns = vec4f();
  var betaRows = vec4f();
  if (tx <= ty) {
    ${lines(
      ROWS.flatMap((r) => [
        `let i${r} = min(4u * ty + ${r}u, count - 1u); let j${r} = min(4u * tx + ${r}u, count - 1u);`,
        `let out${r} = ((token + i${r}) * ${v.valueHeads}u + head) * params.dv;`,
        `let dr${r} = ((params.tokens + token + i${r}) * params.heads + group.y) * params.dv;`,
        `let new${r} = ((token + j${r}) * params.heads + group.y) * params.dv;`,
        `var a${r} = vec4f(); var p${r} = vec4f(); var k${r} = vec4f();`,
      ]),
    )}
    for (var c = 0u; c < params.dv; c++) {
      ${lines(ROWS.map((r) => `let y${r} = inner[new${r} + c];`))}
      ${columnsOf("c", "y")}
      ${lines(
        ROWS.flatMap((r) => [
          `let x${r} = inner[dr${r} + c]; let z${r} = dout[out${r} + c];`,
          addRows(`a${r}`, `x${r}`, "c"),
          addRows(`p${r}`, `z${r}`, "c"),
        ]),
      )}
    }
    let base = token * ${p.width}u + ${p.keysAt}u + head / ${p.perKey}u * ${p.dk}u;
    for (var d = 0u; d < params.quads; d++) {
      ${lines(ROWS.map((r) => `let y${r} = u[base + j${r} * ${p.width}u + d];`))}
      ${columnsOf("c", "y")}
      ${lines(ROWS.map((r) => `{ let x = u[base + i${r} * ${p.width}u + d]; ${addRows(`k${r}`, "x", "c")} }`))}
    }
    let column = vec4u(4u * tx) + vec4u(0u, 1u, 2u, 3u);
    ${lines(
      ROWS.flatMap((r) => [
        `let row${r} = 4u * ty + ${r}u; let f${r} = decays(row${r}, tx); let live${r} = vec4<bool>(row${r} < count);`,
        `a${r} = select(vec4f(), -a${r} * f${r}, (column < vec4u(row${r})) & live${r});`,
        `p${r} = select(vec4f(), p${r}, (column <= vec4u(row${r})) & live${r});`,
        `let pAt${r} = at + ${CHUNK * 16}u + row${r} * 16u + tx;`,
        `let e${r} = betas[row${r}] * a${r} * k${r} + p${r} * solve[pAt${r}];`,
        `solve[at + row${r} * 16u + tx] = betas[row${r}] * a${r};`,
        `solve[pAt${r}] = p${r} * f${r};`,
        `rows[${r}] = dot(e${r}, vec4f(1.0)); columns += e${r}; betaRows[${r}] = dot(a${r}, k${r});`,
      ]),
    )}
  }
  rowSums[thread] = rows;
  columnSums[thread] = columns;
  betaSums[thread] = betaRows;
  workgroupBarrier();
  if (thread >= count) { return; }
  var total = 0.0;
  var beta = 0.0;
  for (var t = 0u; t < 16u; t++) {
    total += rowSums[thread / 4u * 16u + t][thread % 4u] - columnSums[t * 16u + thread / 4u][thread % 4u];
    beta += betaSums[thread / 4u * 16u + t][thread % 4u];
  }
  dgates[(token + thread) * ${v.valueHeads}u + head] = vec2f(total, beta);
}
`;
};

/** WGSL that sums what threads found along G and beta, and G from behind. */
const gather = (valueHeads: number) => `falls[thread] = fall;
  betas[thread] = beta;
  tails[thread] = tail;
  workgroupBarrier();
  for (var half = ${THREADS / 2}u; half > 0u; half /= 2u) {
    if (thread < half) { tails[thread] += tails[thread + half]; }
    workgroupBarrier();
  }
  let place = (token + thread) * ${valueHeads}u + head;
  var gates = vec2f();
  if (thread < count) {
    gates = dgates[place];
    for (var t = 0u; t < 16u; t++) {
      gates += vec2f(falls[thread / 4u * 16u + t][thread % 4u], betas[thread / 4u * 16u + t][thread % 4u]);
    }
    if (thread == count - 1u) { gates.x += tails[0]; }
    rows[thread] = gates.x;
  }
  workgroupBarrier();
  if (thread >= count) { return; }
  var sum = 0.0;
  for (var i = thread; i < count; i++) { sum += rows[i]; }
  dgates[place] = vec2f(sum, gates.y);`;

// delta_chunk_backward: gradients of a chunk's queries, keys, g and beta
//
//   dQ = e^G dO S^T + N K            dK = -beta e^G dR S^T + e^(G_last - G) V' dS^T + (M + M^T) K + N^T Q
//   dG, dbeta: what those rows give along q and k, what delta_scores left, and at the last token <S, dS>; dg sums dG from behind
//
// Grid     as delta_chunk
// Shapes   u, table, dout, inner as in delta_scores, whose solve this is   states [2, kept, heads, keyDim, valueDim]: before
//          chunks, and the gradients of those after   parts [tokens, valueHeads, 2, keyDim]: dQ, dK by value head
// Writes   parts by assignment; dgates in place
export const deltaChunkBackward = (v: DeltaVariant) => {
  const p = places(v);
  const state = v.keyDim * p.dv;
  return `
struct Params { first: u32, heads: u32, quads: u32, dv: u32, tokens: u32, kept: u32 }

@group(0) @binding(0) var<storage, read> u: array<vec4f>;
@group(0) @binding(1) var<storage, read> table: array<vec4u>;
@group(0) @binding(2) var<storage, read> solve: array<vec4f>;
@group(0) @binding(3) var<storage, read> states: array<vec4f>;
@group(0) @binding(4) var<storage, read> dout: array<vec4f>;
@group(0) @binding(5) var<storage, read> inner: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> parts: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> dgates: array<vec2f>;
@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> falls: array<vec4f, ${THREADS}>;  // [16 groups of four rows, 16]: gradient of G
var<workgroup> betas: array<vec4f, ${THREADS}>;  // of beta
var<workgroup> tails: array<f32, ${THREADS}>;    // of the last G
var<workgroup> rows: array<f32, ${CHUNK}>;

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let head = params.first + group.y;
  let entry = table[group.x];
  let token = entry.x;
  let count = entry.y;
  let at = (group.x * params.heads + group.y) * ${SOLVED}u;
  let before = (entry.z * params.heads + group.y) * ${state}u;
  let after = ((params.kept + entry.w) * params.heads + group.y) * ${state}u;
  let ty = thread / 16u;
  let tx = thread % 16u;
  let base = token * ${p.width}u + head / ${p.perKey}u * ${p.dk}u;
  ${lines(
    ROWS.flatMap((r) => [
      `let i${r} = min(4u * ty + ${r}u, count - 1u); let f${r} = solve[at + ${2 * CHUNK * 16}u + i${r}]; let live${r} = 4u * ty + ${r}u < count;`,
      `let out${r} = ((token + i${r}) * ${v.valueHeads}u + head) * params.dv;`,
      `let new${r} = ((token + i${r}) * params.heads + group.y) * params.dv; let dr${r} = new${r} + params.tokens * params.heads * params.dv;`,
    ]),
  )}
  var fall = vec4f();
  var beta = vec4f();
  var tail = 0.0;
  for (var n = tx; n < params.quads; n += 16u) {
    ${lines(ROWS.map((r) => `var q${r} = vec4f(); var z${r} = vec4f(); var w${r} = vec4f();`))}
    if (entry.z != ${NONE}u) {
      for (var c = 0u; c < params.dv; c++) {
        ${lines(ROWS.map((s) => `let s${s} = states[before + (4u * n + ${s}u) * params.dv + c];`))}
        ${columnsOf("c", "s")}
        ${lines(
          ROWS.flatMap((r) => [
            `{ let a = dout[out${r} + c]; ${addRows(`q${r}`, "a", "c")} }`,
            `{ let a = inner[dr${r} + c]; ${addRows(`z${r}`, "a", "c")} }`,
          ]),
        )}
      }
    }
    if (entry.w != ${NONE}u) {
      for (var c = 0u; c < params.dv; c++) {
        ${lines(ROWS.map((s) => `let s${s} = states[after + (4u * n + ${s}u) * params.dv + c];`))}
        ${columnsOf("c", "s")}
        ${lines(ROWS.map((r) => `{ let a = inner[new${r} + c]; ${addRows(`w${r}`, "a", "c")} }`))}
      }
    }
    ${lines(
      ROWS.flatMap((r) => [
        `{ let x = u[base + i${r} * ${p.width}u + n]; let k = u[base + i${r} * ${p.width}u + ${p.keysAt}u + n];`,
        `q${r} *= f${r}.x; w${r} *= f${r}.y; let along = f${r}.x * dot(k, z${r}); let late = dot(k, w${r});`,
        `fall[${r}] += dot(x, q${r}) - f${r}.z * along - late; beta[${r}] -= along; if (live${r}) { tail += late; } }`,
        `var d${r} = w${r} - f${r}.z * f${r}.x * z${r};`,
      ]),
    )}
    for (var j = 0u; j <= ty; j++) {
      ${lines(ROWS.map((s) => `let k${s} = u[base + min(4u * j + ${s}u, count - 1u) * ${p.width}u + ${p.keysAt}u + n];`))}
      ${lines(
        ROWS.flatMap((r) => [
          `{ let m = solve[at + (4u * ty + ${r}u) * 16u + j]; ${addRows(`d${r}`, "m", "k")} }`,
          `{ let m = solve[at + ${CHUNK * 16}u + (4u * ty + ${r}u) * 16u + j]; ${addRows(`q${r}`, "m", "k")} }`,
        ]),
      )}
    }
    for (var i = 4u * ty; i < count; i += 2u) {
      ${lines(
        range(2).flatMap((t) => [
          `let at${t} = base + min(i + ${t}u, count - 1u) * ${p.width}u + n;`,
          `let x${t} = u[at${t}]; let k${t} = u[at${t} + ${p.keysAt}u];`,
          `let m${t} = solve[at + (i + ${t}u) * 16u + ty]; let o${t} = solve[at + ${CHUNK * 16}u + (i + ${t}u) * 16u + ty];`,
        ]),
      )}
      ${lines(ROWS.flatMap((r) => range(2).map((t) => `d${r} += m${t}[${r}] * k${t}; d${r} += o${t}[${r}] * x${t};`)))}
    }
    ${lines(
      ROWS.map((r) => {
        const to = `((token + i${r}) * ${v.valueHeads}u + head) * ${2 * p.dk}u + n`;
        return `if (live${r}) { parts[${to}] = q${r}; parts[${to} + ${p.dk}u] = d${r}; }`;
      }),
    )}
  }
  ${lines(
    range(Math.ceil(p.dv / 16)).map((n) => {
      const at = `tx + ${16 * n}u`;
      const terms = ROWS.map(
        (r) =>
          `beta[${r}] += dot(inner[dr${r} + ${at}], u[(token + i${r}) * ${p.width}u + ${p.valuesAt}u + head * params.dv + ${at}]);`,
      );
      return `${16 * (n + 1) <= p.dv ? "" : `if (${at} < params.dv) `}{ ${terms.join(" ")} }`;
    }),
  )}
  if (entry.z != ${NONE}u && entry.w != ${NONE}u) {
    var sum = 0.0;
    for (var e = thread; e < ${state}u; e += ${THREADS}u) { sum += dot(states[before + e], states[after + e]); }
    tail += sum * solve[at + ${2 * CHUNK * 16}u + count - 1u].x;
  }
  ${gather(v.valueHeads)}
}
`;
};
