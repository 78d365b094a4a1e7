import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

/** What one compiled variant is specialised to. */
export interface AttentionVariant {
  /** elements of a head, a multiple of 4 */
  headDim: number;
  /** query heads */
  heads: number;
  /** key and value heads; divides `heads` */
  kvHeads: number;
  /** whether lanes share the loads of a row by subgroupBroadcast: for a fixed subgroup of 4 or 8 that `chunk` divides */
  broadcast: boolean;
  /** elements of a head that are taken together, 4 or 8; divides headDim; 4 without broadcast */
  chunk: number;
  /** rows of the other side taken together: keys, or queries */
  together: number;
  /** rows of a tile, one a thread */
  workgroup: number;
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i);
const lines = (texts: string[]) => texts.join("\n      ");

/** Pieces of WGSL that differ between the broadcast form and the vec4 form. */
function pieces(v: AttentionVariant) {
  const { broadcast, chunk } = v;
  return {
    head: broadcast ? "enable subgroups;" : "",
    elem: broadcast ? "f32" : "vec4f",
    /** loads `chunk` elements of the thread's own row as {name}0 … */
    own: (name: string, buffer: string, at: string) =>
      broadcast
        ? range(chunk).map((e) => `let ${name}${e} = ${buffer}[${at} + ${e}u];`)
        : [`let ${name} = ${buffer}[(${at}) / 4u];`],
    ownElement: (name: string, e: number) => (broadcast ? `${name}${e}` : `${name}[${e}]`),
    /** loads `chunk` elements of a row that all threads share */
    shared: (name: string, buffer: string, at: string) =>
      broadcast ? `let ${name} = ${buffer}[${at} + part];` : `let ${name} = ${buffer}[(${at}) / 4u];`,
    sharedElement: (name: string, e: number) => (broadcast ? `subgroupBroadcast(${name}, ${e}u)` : `${name}[${e}]`),
    /** stores `chunk` sums {name}0 … into the thread's own row */
    store: (name: string, buffer: string, at: string) =>
      broadcast
        ? range(chunk).map((e) => `${buffer}[${at} + ${e}u] = ${name}${e};`)
        : [`${buffer}[(${at}) / 4u] = vec4f(${name}0, ${name}1, ${name}2, ${name}3);`],
    main: `
@compute @workgroup_size(${v.workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
${broadcast ? "  @builtin(subgroup_invocation_id) lane: u32," : ""}
) {
  ${broadcast ? `let part = lane & ${chunk - 1}u;` : ""}`,
  };
}

/** `sum{g} += own · shared{g}` over a chunk, for every row g taken together. */
function dots(v: AttentionVariant, sum: string, own: string, shared: string): string[] {
  const p = pieces(v);
  return range(v.together).flatMap((g) =>
    range(v.chunk).map(
      (e) => `${sum}${g} = fma(${p.ownElement(own, e)}, ${p.sharedElement(`${shared}${g}`, e)}, ${sum}${g});`,
    ),
  );
}

/** `sum{e} += factor{g} * shared{g}[e]` over the rows taken together, for every element of a chunk. */
function blend(v: AttentionVariant, sum: string, factor: string, shared: string): string[] {
  const p = pieces(v);
  return range(v.chunk).flatMap((e) =>
    range(v.together).map(
      (g) => `${sum}${e} = fma(${factor}${g}, ${p.sharedElement(`${shared}${g}`, e)}, ${sum}${e});`,
    ),
  );
}

// attention: o = softmax(scale * q k^T + causal mask) v within each sequence
//
// Grid     x: tiles of query rows, one row a thread; y: query heads
// Shapes   q, o [tokens, heads * headDim]   k, v [tokens, kvHeads * headDim]   spans [tokens, 2]: first token of the row's
//          sequence, and one past its last   stats [tokens, heads, 2]: the log-sum-exp; the second is the backward pass's
// Writes   o and stats by assignment; o is also where the sums grow
// Hazard   all buffers are distinct
// Numbers  online softmax: nothing grows with the square of the length; a tile reads only the keys that it can see
// Source   Dao 2023, arXiv:2307.08691; Milakov and Gimelshein 2018, arXiv:1805.02867
// Tried    heads unrolled into registers: a minute of compilation at head_dim 64 on a CPU adapter
export const attention = (v: AttentionVariant) => {
  const p = pieces(v);
  const rows = range(v.together);
  return wgsl`
${p.head}
struct Params { tokens: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> q: array<${p.elem}>;
@group(0) @binding(1) var<storage, read> k: array<${p.elem}>;
@group(0) @binding(2) var<storage, read> v: array<${p.elem}>;
@group(0) @binding(3) var<storage, read> spans: array<vec2u>;
@group(0) @binding(4) var<storage, read_write> o: array<${p.elem}>;
@group(0) @binding(5) var<storage, read_write> stats: array<vec2f>;
@group(0) @binding(6) var<uniform> params: Params;
${p.main}
  let head = group.y;
  let kvHead = head / ${v.heads / v.kvHeads}u;
  let tile = group.x * ${v.workgroup}u;
  let row = min(tile + thread, params.tokens - 1u);
  let live = tile + thread < params.tokens; // past the edge a thread works on the last row again and stores nothing
  let first = spans[tile].x; // starts never fall from row to row, so the tile's first row sees farthest back
  let last = min(tile + ${v.workgroup}u, params.tokens);
  let start = spans[row].x;
  let at = (row * ${v.heads}u + head) * ${v.headDim}u;
  var m = -3.0e38;
  var l = 0.0;
  for (var j = first; j < last; j += ${v.together}u) {
    ${lines(rows.map((g) => `let at${g} = (min(j + ${g}u, last - 1u) * ${v.kvHeads}u + kvHead) * ${v.headDim}u; var s${g} = 0.0;`))}
    for (var c = 0u; c < ${v.headDim}u; c += ${v.chunk}u) {
      ${lines(p.own("x", "q", "at + c"))}
      ${lines(rows.map((g) => p.shared(`k${g}`, "k", `at${g} + c`)))}
      ${lines(dots(v, "s", "x", "k"))}
    }
    ${lines(rows.map((g) => `let seen${g} = j + ${g}u >= start && j + ${g}u <= row; s${g} = select(-1.0e38, params.scale * s${g}, seen${g});`))}
    let top = ${rows.reduce((max, g) => `max(${max}, s${g})`, "m")};
    let shrink = exp(m - top);
    m = top;
    ${lines(rows.map((g) => `let p${g} = select(0.0, exp(s${g} - top), seen${g});`))}
    l = l * shrink + ${rows.map((g) => `p${g}`).join(" + ")};
    for (var c = 0u; c < ${v.headDim}u; c += ${v.chunk}u) {
      ${lines(rows.map((g) => p.shared(`v${g}`, "v", `at${g} + c`)))}
      ${lines(range(v.chunk).map((e) => `var y${e} = 0.0;`))}
      if (j > first) {
        ${lines(p.own("old", "o", "at + c"))}
        ${lines(range(v.chunk).map((e) => `y${e} = shrink * ${p.ownElement("old", e)};`))}
      }
      ${lines(blend(v, "y", "p", "v"))}
      if (live) {
        ${lines(p.store("y", "o", "at + c"))}
      }
    }
  }
  if (live) {
    for (var c = at; c < at + ${v.headDim}u; c += ${v.broadcast ? 1 : 4}u) { o[c${v.broadcast ? "" : " / 4u"}] /= l; }
    stats[row * ${v.heads}u + head] = vec2f(m + log(l), 0.0);
  }
}
`;
};

// attention_backward_q: dq = scale * ds k, ds = p * (dp - delta), p = exp(scale * q k^T - lse), dp = do v^T, delta = do . o
//
// Grid     x: tiles of query rows, one row a thread; y: query heads
// Shapes   q, o, dout, dq [tokens, heads * headDim]   k, v [tokens, kvHeads * headDim]   stats [tokens, heads, 2]: lse, delta
// Writes   dq by assignment, and delta into stats, where attention_backward_kv reads it
// Hazard   all buffers are distinct
export const attentionBackwardQ = (v: AttentionVariant) => {
  const p = pieces(v);
  const rows = range(v.together);
  return wgsl`
${p.head}
struct Params { tokens: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> q: array<${p.elem}>;
@group(0) @binding(1) var<storage, read> k: array<${p.elem}>;
@group(0) @binding(2) var<storage, read> v: array<${p.elem}>;
@group(0) @binding(3) var<storage, read> spans: array<vec2u>;
@group(0) @binding(4) var<storage, read> o: array<${p.elem}>;
@group(0) @binding(5) var<storage, read> dout: array<${p.elem}>;
@group(0) @binding(6) var<storage, read_write> stats: array<vec2f>;
@group(0) @binding(7) var<storage, read_write> dq: array<${p.elem}>;
@group(0) @binding(8) var<uniform> params: Params;
${p.main}
  let head = group.y;
  let kvHead = head / ${v.heads / v.kvHeads}u;
  let tile = group.x * ${v.workgroup}u;
  let row = min(tile + thread, params.tokens - 1u);
  let live = tile + thread < params.tokens;
  let first = spans[tile].x;
  let last = min(tile + ${v.workgroup}u, params.tokens);
  let start = spans[row].x;
  let at = (row * ${v.heads}u + head) * ${v.headDim}u;
  var delta = 0.0;
  for (var c = at; c < at + ${v.headDim}u; c += ${v.broadcast ? 1 : 4}u) {
    delta += ${v.broadcast ? "o[c] * dout[c]" : "dot(o[c / 4u], dout[c / 4u])"};
  }
  let lse = stats[row * ${v.heads}u + head].x;
  for (var j = first; j < last; j += ${v.together}u) {
    ${lines(rows.map((g) => `let at${g} = (min(j + ${g}u, last - 1u) * ${v.kvHeads}u + kvHead) * ${v.headDim}u; var s${g} = 0.0; var dp${g} = 0.0;`))}
    for (var c = 0u; c < ${v.headDim}u; c += ${v.chunk}u) {
      ${lines(p.own("x", "q", "at + c"))}
      ${lines(rows.map((g) => p.shared(`k${g}`, "k", `at${g} + c`)))}
      ${lines(dots(v, "s", "x", "k"))}
      ${lines(p.own("d", "dout", "at + c"))}
      ${lines(rows.map((g) => p.shared(`v${g}`, "v", `at${g} + c`)))}
      ${lines(dots(v, "dp", "d", "v"))}
    }
    ${lines(
      rows.flatMap((g) => [
        `let p${g} = select(0.0, exp(min(params.scale * s${g} - lse, 0.0)), j + ${g}u >= start && j + ${g}u <= row);`,
        `let ds${g} = p${g} * (dp${g} - delta) * params.scale;`,
      ]),
    )}
    for (var c = 0u; c < ${v.headDim}u; c += ${v.chunk}u) {
      ${lines(rows.map((g) => p.shared(`k${g}`, "k", `at${g} + c`)))}
      ${lines(range(v.chunk).map((e) => `var y${e} = 0.0;`))}
      if (j > first) {
        ${lines(p.own("old", "dq", "at + c"))}
        ${lines(range(v.chunk).map((e) => `y${e} = ${p.ownElement("old", e)};`))}
      }
      ${lines(blend(v, "y", "ds", "k"))}
      if (live) {
        ${lines(p.store("y", "dq", "at + c"))}
      }
    }
  }
  if (live) { stats[row * ${v.heads}u + head].y = delta; }
}
`;
};

// attention_backward_kv: dk = scale * ds^T q, dv = p^T do, summed over the query heads that share the key's head
//
// Grid     x: tiles of keys, one key a thread; y: key heads. Key-major: no atomics, the same sum every time
// Shapes   q, dout [tokens, heads * headDim]   k, v, dk, dv [tokens, kvHeads * headDim]   stats [tokens, heads, 2]: lse, delta
// Writes   dk and dv by assignment
// Hazard   all buffers are distinct
export const attentionBackwardKv = (v: AttentionVariant) => {
  const p = pieces(v);
  const rows = range(v.together);
  const perKv = v.heads / v.kvHeads;
  return wgsl`
${p.head}
struct Params { tokens: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> q: array<${p.elem}>;
@group(0) @binding(1) var<storage, read> k: array<${p.elem}>;
@group(0) @binding(2) var<storage, read> v: array<${p.elem}>;
@group(0) @binding(3) var<storage, read> spans: array<vec2u>;
@group(0) @binding(4) var<storage, read> dout: array<${p.elem}>;
@group(0) @binding(5) var<storage, read> stats: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> dk: array<${p.elem}>;
@group(0) @binding(7) var<storage, read_write> dv: array<${p.elem}>;
@group(0) @binding(8) var<uniform> params: Params;
${p.main}
  let kvHead = group.y;
  let tile = group.x * ${v.workgroup}u;
  let row = min(tile + thread, params.tokens - 1u);
  let live = tile + thread < params.tokens;
  let last = spans[min(tile + ${v.workgroup}u, params.tokens) - 1u].y; // ends never fall either
  let end = spans[row].y;
  let at = (row * ${v.kvHeads}u + kvHead) * ${v.headDim}u;
  for (var head = kvHead * ${perKv}u; head < (kvHead + 1u) * ${perKv}u; head++) {
    for (var i = tile; i < last; i += ${v.together}u) {
      ${lines(rows.map((g) => `let row${g} = min(i + ${g}u, last - 1u) * ${v.heads}u + head; let at${g} = row${g} * ${v.headDim}u; var s${g} = 0.0; var dp${g} = 0.0;`))}
      for (var c = 0u; c < ${v.headDim}u; c += ${v.chunk}u) {
        ${lines(p.own("x", "k", "at + c"))}
        ${lines(rows.map((g) => p.shared(`q${g}`, "q", `at${g} + c`)))}
        ${lines(dots(v, "s", "x", "q"))}
        ${lines(p.own("w", "v", "at + c"))}
        ${lines(rows.map((g) => p.shared(`d${g}`, "dout", `at${g} + c`)))}
        ${lines(dots(v, "dp", "w", "d"))}
      }
      ${lines(
        rows.flatMap((g) => [
          `let known${g} = stats[row${g}];`,
          `let p${g} = select(0.0, exp(min(params.scale * s${g} - known${g}.x, 0.0)), i + ${g}u >= row && i + ${g}u < end);`,
          `let ds${g} = p${g} * (dp${g} - known${g}.y) * params.scale;`,
        ]),
      )}
      for (var c = 0u; c < ${v.headDim}u; c += ${v.chunk}u) {
        ${lines(range(v.chunk).map((e) => `var y${e} = 0.0; var z${e} = 0.0;`))}
        if (i > tile || head > kvHead * ${perKv}u) {
          ${lines(p.own("oldK", "dk", "at + c"))}
          ${lines(p.own("oldV", "dv", "at + c"))}
          ${lines(range(v.chunk).map((e) => `y${e} = ${p.ownElement("oldK", e)}; z${e} = ${p.ownElement("oldV", e)};`))}
        }
        ${lines(rows.map((g) => p.shared(`q${g}`, "q", `at${g} + c`)))}
        ${lines(blend(v, "y", "ds", "q"))}
        ${lines(rows.map((g) => p.shared(`d${g}`, "dout", `at${g} + c`)))}
        ${lines(blend(v, "z", "p", "d"))}
        if (live) {
          ${lines(p.store("y", "dk", "at + c"))}
          ${lines(p.store("z", "dv", "at + c"))}
        }
      }
    }
  }
}
`;
};
