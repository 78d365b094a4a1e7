import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";

// q, k and v in tensors of their own: until every caller has them in one (attention.wgsl.ts).

/** What one compiled variant is specialised to. */
export interface AttentionVariant {
  /** elements of a head, a multiple of 4 */
  headDim: number;
  /** query heads */
  heads: number;
  /** key and value heads; divides `heads` */
  kvHeads: number;
  /** subgroup size for which each lane loads one of the rows that all share: 4 or 8, divides together; 0 = none */
  broadcast: number;
  /** rows of the other side taken together: keys, or queries */
  together: number;
  /** rows of a tile, one a thread */
  workgroup: number;
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i);
/** Elements of a head that are taken together: a vec4. */
const ELEMENTS = range(4);
const lines = (texts: string[]) => texts.join("\n      ");

/** Pieces of WGSL that differ between the broadcast form, where a lane loads the row that it shares out, and the plain one. */
function pieces(v: AttentionVariant) {
  const { broadcast } = v;
  /** rows taken together, as a thread loads them: all, or every `broadcast`-th */
  const loads = range(broadcast > 0 ? v.together / broadcast : v.together);
  const load = (name: string, buffer: string, at: string) => `let ${name} = ${buffer}[(${at}) / 4u];`;
  return {
    head: broadcast > 0 ? "enable subgroups;" : "",
    loads,
    /** the l-th row that a thread loads, counted from the first of those taken together */
    row: (l: number) => (broadcast > 0 ? `${l * broadcast}u + part` : `${l}u`),
    /** loads four elements of the thread's own row */
    own: load,
    /** loads four elements of the rows that all threads share; `at` is followed by the number of the load */
    shared: (name: string, buffer: string, at: (l: number) => string) =>
      loads.map((l) => load(`${name}${l}`, buffer, at(l))),
    sharedElement: (name: string, g: number, e: number) =>
      broadcast > 0
        ? `subgroupBroadcast(${name}${Math.floor(g / broadcast)}[${e}], ${g % broadcast}u)`
        : `${name}${g}[${e}]`,
    /** a value that every thread loaded for its row of those taken together */
    sharedValue: (name: string, g: number) =>
      broadcast > 0 ? `subgroupBroadcast(${name}${Math.floor(g / broadcast)}, ${g % broadcast}u)` : `${name}${g}`,
    /** stores four sums {name}0 … into the thread's own row */
    store: (name: string, buffer: string, at: string) =>
      `${buffer}[(${at}) / 4u] = vec4f(${ELEMENTS.map((e) => `${name}${e}`).join(", ")});`,
    main: `
@compute @workgroup_size(${v.workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
${broadcast > 0 ? "  @builtin(subgroup_invocation_id) lane: u32," : ""}
) {
  ${broadcast > 0 ? `let part = lane & ${broadcast - 1}u;` : ""}`,
  };
}

/** `sum{g} += own · shared{g}` over four elements, for every row g taken together. */
function dots(v: AttentionVariant, sum: string, own: string, shared: string): string[] {
  const p = pieces(v);
  return range(v.together).flatMap((g) =>
    ELEMENTS.map((e) => `${sum}${g} = fma(${own}[${e}], ${p.sharedElement(shared, g, e)}, ${sum}${g});`),
  );
}

/** `sum{e} += factor{g} * shared{g}[e]` over the rows taken together, for each of four elements. */
function blend(v: AttentionVariant, sum: string, factor: string, shared: string): string[] {
  const p = pieces(v);
  return ELEMENTS.flatMap((e) =>
    range(v.together).map((g) => `${sum}${e} = fma(${factor}${g}, ${p.sharedElement(shared, g, e)}, ${sum}${e});`),
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
// Tried    heads unrolled into registers: a minute of compilation at head_dim 64 on a CPU adapter; more in bench/LOG.md
export const attentionSplit = (v: AttentionVariant) => {
  const p = pieces(v);
  const rows = range(v.together);
  return wgsl`
${p.head}
struct Params { tokens: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> q: array<vec4f>;
@group(0) @binding(1) var<storage, read> k: array<vec4f>;
@group(0) @binding(2) var<storage, read> v: array<vec4f>;
@group(0) @binding(3) var<storage, read> spans: array<vec2u>;
@group(0) @binding(4) var<storage, read_write> o: array<vec4f>;
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
    ${lines(p.loads.map((l) => `let at${l} = (min(j + ${p.row(l)}, last - 1u) * ${v.kvHeads}u + kvHead) * ${v.headDim}u;`))}
    ${lines(rows.map((g) => `var s${g} = 0.0;`))}
    for (var c = 0u; c < ${v.headDim}u; c += 4u) {
      ${p.own("x", "q", "at + c")}
      ${lines(p.shared("k", "k", (l) => `at${l} + c`))}
      ${lines(dots(v, "s", "x", "k"))}
    }
    ${lines(rows.map((g) => `let seen${g} = j + ${g}u >= start && j + ${g}u <= row; s${g} = select(-1.0e38, params.scale * s${g}, seen${g});`))}
    let top = ${rows.reduce((max, g) => `max(${max}, s${g})`, "m")};
    let shrink = exp(m - top);
    m = top;
    ${lines(rows.map((g) => `let p${g} = select(0.0, exp(s${g} - top), seen${g});`))}
    l = l * shrink + ${rows.map((g) => `p${g}`).join(" + ")};
    for (var c = 0u; c < ${v.headDim}u; c += 4u) {
      ${lines(p.shared("v", "v", (l) => `at${l} + c`))}
      ${lines(ELEMENTS.map((e) => `var y${e} = 0.0;`))}
      if (j > first) {
        ${p.own("old", "o", "at + c")}
        ${lines(ELEMENTS.map((e) => `y${e} = shrink * old[${e}];`))}
      }
      ${lines(blend(v, "y", "p", "v"))}
      if (live) {
        ${p.store("y", "o", "at + c")}
      }
    }
  }
  if (live) {
    for (var c = at; c < at + ${v.headDim}u; c += 4u) { o[c / 4u] /= l; }
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
export const attentionSplitBackwardQ = (v: AttentionVariant) => {
  const p = pieces(v);
  const rows = range(v.together);
  return wgsl`
${p.head}
struct Params { tokens: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> q: array<vec4f>;
@group(0) @binding(1) var<storage, read> k: array<vec4f>;
@group(0) @binding(2) var<storage, read> v: array<vec4f>;
@group(0) @binding(3) var<storage, read> spans: array<vec2u>;
@group(0) @binding(4) var<storage, read> o: array<vec4f>;
@group(0) @binding(5) var<storage, read> dout: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> stats: array<vec2f>;
@group(0) @binding(7) var<storage, read_write> dq: array<vec4f>;
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
  for (var c = at; c < at + ${v.headDim}u; c += 4u) { delta += dot(o[c / 4u], dout[c / 4u]); }
  let lse = stats[row * ${v.heads}u + head].x;
  for (var j = first; j < last; j += ${v.together}u) {
    ${lines(p.loads.map((l) => `let at${l} = (min(j + ${p.row(l)}, last - 1u) * ${v.kvHeads}u + kvHead) * ${v.headDim}u;`))}
    ${lines(rows.map((g) => `var s${g} = 0.0; var dp${g} = 0.0;`))}
    for (var c = 0u; c < ${v.headDim}u; c += 4u) {
      ${p.own("x", "q", "at + c")}
      ${lines(p.shared("k", "k", (l) => `at${l} + c`))}
      ${lines(dots(v, "s", "x", "k"))}
      ${p.own("d", "dout", "at + c")}
      ${lines(p.shared("v", "v", (l) => `at${l} + c`))}
      ${lines(dots(v, "dp", "d", "v"))}
    }
    ${lines(
      rows.flatMap((g) => [
        `let p${g} = select(0.0, exp(min(params.scale * s${g} - lse, 0.0)), j + ${g}u >= start && j + ${g}u <= row);`,
        `let ds${g} = p${g} * (dp${g} - delta) * params.scale;`,
      ]),
    )}
    for (var c = 0u; c < ${v.headDim}u; c += 4u) {
      ${lines(p.shared("k", "k", (l) => `at${l} + c`))}
      ${lines(ELEMENTS.map((e) => `var y${e} = 0.0;`))}
      if (j > first) {
        ${p.own("old", "dq", "at + c")}
        ${lines(ELEMENTS.map((e) => `y${e} = old[${e}];`))}
      }
      ${lines(blend(v, "y", "ds", "k"))}
      if (live) {
        ${p.store("y", "dq", "at + c")}
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
export const attentionSplitBackwardKv = (v: AttentionVariant) => {
  const p = pieces(v);
  const rows = range(v.together);
  const perKv = v.heads / v.kvHeads;
  return wgsl`
${p.head}
struct Params { tokens: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> q: array<vec4f>;
@group(0) @binding(1) var<storage, read> k: array<vec4f>;
@group(0) @binding(2) var<storage, read> v: array<vec4f>;
@group(0) @binding(3) var<storage, read> spans: array<vec2u>;
@group(0) @binding(4) var<storage, read> dout: array<vec4f>;
@group(0) @binding(5) var<storage, read> stats: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> dk: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> dv: array<vec4f>;
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
      ${lines(p.loads.map((l) => `let row${l} = min(i + ${p.row(l)}, last - 1u) * ${v.heads}u + head; let at${l} = row${l} * ${v.headDim}u;`))}
      ${lines(p.loads.map((l) => `let known${l} = stats[row${l}]; let lse${l} = known${l}.x; let delta${l} = known${l}.y;`))}
      ${lines(rows.map((g) => `var s${g} = 0.0; var dp${g} = 0.0;`))}
      for (var c = 0u; c < ${v.headDim}u; c += 4u) {
        ${p.own("x", "k", "at + c")}
        ${lines(p.shared("q", "q", (l) => `at${l} + c`))}
        ${lines(dots(v, "s", "x", "q"))}
        ${p.own("w", "v", "at + c")}
        ${lines(p.shared("d", "dout", (l) => `at${l} + c`))}
        ${lines(dots(v, "dp", "w", "d"))}
      }
      ${lines(
        rows.flatMap((g) => [
          `let p${g} = select(0.0, exp(min(params.scale * s${g} - ${p.sharedValue("lse", g)}, 0.0)), i + ${g}u >= row && i + ${g}u < end);`,
          `let ds${g} = p${g} * (dp${g} - ${p.sharedValue("delta", g)}) * params.scale;`,
        ]),
      )}
      for (var c = 0u; c < ${v.headDim}u; c += 4u) {
        ${lines(ELEMENTS.map((e) => `var y${e} = 0.0; var z${e} = 0.0;`))}
        if (i > tile || head > kvHead * ${perKv}u) {
          ${p.own("oldK", "dk", "at + c")}
          ${p.own("oldV", "dv", "at + c")}
          ${lines(ELEMENTS.map((e) => `y${e} = oldK[${e}]; z${e} = oldV[${e}];`))}
        }
        ${lines(p.shared("q", "q", (l) => `at${l} + c`))}
        ${lines(blend(v, "y", "ds", "q"))}
        ${lines(p.shared("d", "dout", (l) => `at${l} + c`))}
        ${lines(blend(v, "z", "p", "d"))}
        if (live) {
          ${p.store("y", "dk", "at + c")}
          ${p.store("z", "dv", "at + c")}
        }
      }
    }
  }
}
`;
};
