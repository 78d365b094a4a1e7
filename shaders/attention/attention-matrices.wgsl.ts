import { type AttentionMatrixVariant, emulatedDots, matrixPieces } from "./lib/matrices.ts";

/** Natural and binary logarithms. */
const [LOG2E, LN2] = ["1.4426950408889634", "0.6931471805599453"];
/** Scores may grow by 2^12 above a row's scale before it is corrected: f16 ends below 2^16. */
const GROWTH = 12;

/** `grow{n}` and its use: a row's power of two, so that its largest value lies between 2^3 and 2^15; `top` is the tile's largest. */
const growRow = (n: number, top: string, factor: string) => `
    if (${top} * grow${n} > 32768.0 || (grow${n} == 0.0 && ${top} > 0.0)) {
      let next = bitcast<f32>(u32(clamp(${127 + 3 + 127}i - i32(bitcast<u32>(${top}) >> 23u), 1i, 253i)) << 23u);
      if (grow${n} > 0.0) { ${factor} = next / grow${n}; grown = 1u; }
      grow${n} = next;
    }`;
/** The inverse of such a power of two; 0 of a row of zeros. */
const INVERSE = `
fn inverse(power: f32) -> f32 {
  return select(bitcast<f32>((254u << 23u) - bitcast<u32>(power)), 0.0, power == 0.0);
}`;

// attention_matrices: o = softmax(scale * q k^T + causal mask) v within each sequence, on the adapter's matrix units
//
// Grid     x: tiles of own rows (lib/matrices.ts) from firstTile; y: query heads
// Shapes   packed, own: the same [tokens', heads + 2 kvHeads, D'] f16 as pack_rows writes it, with rows of zeros up to a whole
//          tile; scales [tokens', heads + 2 kvHeads], the inverses of its powers of two   o, spans, stats as attention
// Writes   o and stats by assignment
// Numbers  operands have 11 bits, sums are f32, the softmax is f32. exp(score) and the power of two of its row of v are rounded
//          together, with a scale per row of o: nothing becomes infinite, and what is above 2^-26 of a row's largest product
//          keeps its bits. As in attention, a row's bits do not depend on earlier rows of the batch
// Source   Dao 2023, arXiv:2307.08691; Milakov and Gimelshein 2018, arXiv:1805.02867
export const attentionMatrices = (v: AttentionMatrixVariant) => {
  const p = matrixPieces(v);
  const stride = p.all * p.width;
  const kvHead = `head / ${p.group}u`;
  const keys = { buffer: "packed", stride, at: "keysAt" };
  const values = { buffer: "packed", stride, at: "valuesAt" };
  const k = p.straight("k", keys, "j", "end");
  const w = p.turned("v", values, "j", "end");
  return `
${p.enable}
struct Params { tokens: u32, firstTile: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> packed: array<vec2u>;
@group(0) @binding(1) var<storage, read> own: array<f16>;
@group(0) @binding(2) var<storage, read> scales: array<f32>;
@group(0) @binding(3) var<storage, read> spans: array<vec2u>;
@group(0) @binding(4) var<storage, read_write> o: array<f32>;
@group(0) @binding(5) var<storage, read_write> stats: array<vec2f>;
@group(0) @binding(6) var<uniform> params: Params;
${p.declare}
${emulatedDots(v, "own", p.all)}
${p.main}
  let keyHead = ${v.heads}u + ${kvHead};
  let keysAt = keyHead * ${p.width}u;
  let valuesAt = keysAt + ${v.kvHeads * p.width}u;
  let rowScale = scales[row * ${p.all}u + head] * params.scale * ${LOG2E};
  let rowStart = spans[row].x;
  ${p.own("q", "own", p.all, "head")}
  ${p.sums("y")}
  // largest score, its sum of exponentials, and the exponent of the row of sums, which has the scales of v in it
  var m = -1.0e30;
  var l = 0.0;
  var held = -1.0e30;
  let first = spans[tile].x; // starts never decrease from row to row, so the tile's first row sees the earliest key
  let last = ${v.causal ? "tileEnd" : "spans[tileEnd - 1u].y"};
  for (var start = first; start < last; start = spans[start].y) {
  let end = min(spans[start].y, last);
  let seen = select(0u, ${v.causal ? "min(row + 1u, end)" : "end"}, start == rowStart);
  for (var j = start; j < end; j += ${p.others}u) {
    ${k.load}
    workgroupBarrier();
    ${k.store}
    if (thread < ${p.others}u) {
      let at = min(j + thread, end - 1u) * ${p.all}u + keyHead;
      facts[thread] = vec4f(scales[at], log2(max(scales[at + ${v.kvHeads}u], 1.0e-37)), 0.0, 0.0);
    }
    if (thread == 0u) { grown = 0u; }
    workgroupBarrier();
    ${w.load}
    ${p.dots("q", "own")}
    workgroupBarrier();
    var ownTop = vec2f(-3.0e38);
    ${p.each((c) => `let s${c} = select(-3.0e38, (${p.score(c)}) * (rowScale * facts[${p.other(c)}].x), j + ${p.other(c)} < seen); ownTop = max(ownTop, vec2f(s${c}, s${c} + facts[${p.other(c)}].y));`)}
    tops[thread] = ownTop;
    ${w.store}
    workgroupBarrier();
    ${p.fold("top", (a, b) => `max(${a}, ${b})`)}
    let most = max(m, top.x);
    l *= exp2(m - most);
    m = most;
    var shrink = 1.0;
    if (top.y > held + ${GROWTH}.0) {
      let next = ceil(top.y);
      shrink = exp2(held - next);
      if (held > -1.0e29) { grown = 1u; }
      held = next;
    }
    if (quarter == 0u) { factors[r] = vec2f(shrink); }
    ${p.each((c) => `l += exp2(s${c} - m);`)}
    ${p.put((c) => `exp2(s${c} + facts[${p.other(c)}].y - held)`)}
    if (workgroupUniformLoad(&grown) != 0u) {
      ${p.rescale("y", "x")}
    }
    ${p.blend("y")}
  }
  }
  tops[thread] = vec2f(l, 0.0);
  workgroupBarrier();
  ${p.fold("total", (a, b) => `${a} + ${b}`)}
  if (quarter == 0u) {
    factors[r] = vec2f(exp2(held - m) / total.x);
    if (tile + r < params.tokens) { stats[row * ${v.heads}u + head] = vec2f((m + log2(total.x)) * ${LN2}, 0.0); }
  }
  workgroupBarrier();
  ${p.finish("y", "x", `o[(own * ${v.heads}u + head) * ${v.headDim}u + column]`)}
}
`;
};

// attention_matrices_backward_q: dq = scale * ds k, ds = p * (dp - delta), p = exp(scale * q k^T - lse), dp = do v^T
//
// Grid     as above
// Shapes   as above; ownGrad [tokens', heads, D'] f16, gradScales [tokens', heads]: dout as pack_rows writes it   stats: lse, delta
//          parts [tokens, 3, heads, headDim]: dq, and a query head's parts of dk and dv (attention-gather.wgsl.ts)
// Writes   the first of parts by assignment
// Numbers  ds and the power of two of its row of k are rounded together, with a scale per row of dq
export const attentionMatricesBackwardQ = (v: AttentionMatrixVariant) => {
  const p = matrixPieces(v);
  const stride = p.all * p.width;
  const keys = { buffer: "packed", stride, at: "keysAt" };
  const k = p.straight("k", keys, "j", "last");
  const w = p.straight("v", { buffer: "packed", stride, at: "valuesAt" }, "j", "last");
  const t = p.turned("t", keys, "j", "last");
  return `
${p.enable}
struct Params { tokens: u32, firstTile: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> packed: array<vec2u>;
@group(0) @binding(1) var<storage, read> own: array<f16>;
@group(0) @binding(2) var<storage, read> ownGrad: array<f16>;
@group(0) @binding(3) var<storage, read> scales: array<f32>;
@group(0) @binding(4) var<storage, read> gradScales: array<f32>;
@group(0) @binding(5) var<storage, read> spans: array<vec2u>;
@group(0) @binding(6) var<storage, read> stats: array<vec2f>;
@group(0) @binding(7) var<storage, read_write> parts: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;
${INVERSE}
${p.declare}
${emulatedDots(v, "own", p.all)}
${emulatedDots(v, "ownGrad", v.heads)}
${p.main}
  let keyHead = ${v.heads}u + head / ${p.group}u;
  let keysAt = keyHead * ${p.width}u;
  let valuesAt = keysAt + ${v.kvHeads * p.width}u;
  let rowScale = scales[row * ${p.all}u + head] * params.scale * ${LOG2E};
  let gradScale = gradScales[row * ${v.heads}u + head];
  let known = stats[row * ${v.heads}u + head];
  let span = spans[row];
  let seen = ${v.causal ? "row + 1u" : "span.y"};
  ${p.own("q", "own", p.all, "head")}
  ${p.own("g", "ownGrad", v.heads, "head")}
  ${p.sums("y")}
  var grow0 = 0.0;
  let last = ${v.causal ? "tileEnd" : "spans[tileEnd - 1u].y"};
  for (var j = spans[tile].x; j < last; j += ${p.others}u) {
    ${k.load}
    workgroupBarrier();
    ${k.store}
    if (thread < ${p.others}u) {
      let at = min(j + thread, last - 1u) * ${p.all}u + keyHead;
      facts[thread] = vec4f(scales[at], scales[at + ${v.kvHeads}u], 0.0, 0.0);
    }
    if (thread == 0u) { grown = 0u; }
    workgroupBarrier();
    ${w.load}
    ${p.dots("q", "own")}
    workgroupBarrier();
    ${p.each((c) => `let j${c} = j + ${p.other(c)}; let p${c} = select(0.0, exp2(min((${p.score(c)}) * (rowScale * facts[${p.other(c)}].x) - known.x * ${LOG2E}, 0.0)), j${c} >= span.x && j${c} < seen);`)}
    ${w.store}
    workgroupBarrier();
    ${t.load}
    ${p.dots("g", "ownGrad")}
    workgroupBarrier();
    var ownTop = 0.0;
    ${p.each((c) => `let s${c} = p${c} * ((${p.score(c)}) * (gradScale * facts[${p.other(c)}].y) - known.y) * params.scale * facts[${p.other(c)}].x; ownTop = max(ownTop, abs(s${c}));`)}
    tops[thread] = vec2f(ownTop, 0.0);
    ${t.store}
    workgroupBarrier();
    ${p.fold("top", (a, b) => `max(${a}, ${b})`)}
    var shrink = 1.0;
    ${growRow(0, "top.x", "shrink")}
    if (quarter == 0u) { factors[r] = vec2f(shrink); }
    ${p.put((c) => `s${c} * grow0`)}
    if (workgroupUniformLoad(&grown) != 0u) {
      ${p.rescale("y", "x")}
    }
    ${p.blend("y")}
  }
  if (quarter == 0u) { factors[r] = vec2f(inverse(grow0)); }
  workgroupBarrier();
  ${p.finish("y", "x", `parts[(own * ${3 * v.heads}u + head) * ${v.headDim}u + column]`)}
}
`;
};

// attention_matrices_backward_kv: a query head's parts of dk = scale * ds^T q and dv = p^T do
//
// Grid     x: tiles of keys from firstTile; y: query heads. Key-major: no atomics, deterministic sums
// Shapes   as above; packedGrad: dout's packed rows
// Writes   the second and third of parts by assignment
// Numbers  as above, with a scale per row of dk and one per row of dv
export const attentionMatricesBackwardKv = (v: AttentionMatrixVariant) => {
  const p = matrixPieces(v);
  const queries = { buffer: "packed", stride: p.all * p.width, at: "queriesAt" };
  const grads = { buffer: "packedGrad", stride: v.heads * p.width, at: "queriesAt" };
  const [q, g] = [p.straight("q", queries, "i", "last"), p.straight("g", grads, "i", "last")];
  const [qt, gt] = [p.turned("t", queries, "i", "last"), p.turned("u", grads, "i", "last")];
  const to = (part: number) => `parts[((own * 3u + ${part}u) * ${v.heads}u + head) * ${v.headDim}u + column]`;
  return `
${p.enable}
struct Params { tokens: u32, firstTile: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> packed: array<vec2u>;
@group(0) @binding(1) var<storage, read> own: array<f16>;
@group(0) @binding(2) var<storage, read> packedGrad: array<vec2u>;
@group(0) @binding(3) var<storage, read> scales: array<f32>;
@group(0) @binding(4) var<storage, read> gradScales: array<f32>;
@group(0) @binding(5) var<storage, read> spans: array<vec2u>;
@group(0) @binding(6) var<storage, read> stats: array<vec2f>;
@group(0) @binding(7) var<storage, read_write> parts: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;
${INVERSE}
${p.declare}
${emulatedDots(v, "own", p.all)}
${p.main}
  let keyHead = ${v.heads}u + head / ${p.group}u;
  let queriesAt = head * ${p.width}u;
  let keyScale = scales[row * ${p.all}u + keyHead] * params.scale * ${LOG2E};
  let valueScale = scales[row * ${p.all}u + keyHead + ${v.kvHeads}u];
  let span = spans[row];
  let least = ${v.causal ? "row" : "span.x"};
  ${p.own("k", "own", p.all, "keyHead")}
  ${p.own("v", "own", p.all, `(keyHead + ${v.kvHeads}u)`)}
  ${p.sums("y")}
  ${p.sums("z")}
  var grow0 = 0.0;
  var grow1 = 0.0;
  let last = spans[tileEnd - 1u].y;
  for (var i = ${v.causal ? "tile" : "spans[tile].x"}; i < last; i += ${p.others}u) {
    ${q.load}
    workgroupBarrier();
    ${q.store}
    if (thread < ${p.others}u) {
      let query = min(i + thread, last - 1u);
      let at = query * ${v.heads}u + head;
      facts[thread] = vec4f(scales[query * ${p.all}u + head], gradScales[at], stats[at]);
    }
    if (thread == 0u) { grown = 0u; }
    workgroupBarrier();
    ${g.load}
    ${p.dots("k", "own")}
    workgroupBarrier();
    ${p.each((c) => `let i${c} = i + ${p.other(c)}; let p${c} = select(0.0, exp2(min((${p.score(c)}) * (keyScale * facts[${p.other(c)}].x) - facts[${p.other(c)}].z * ${LOG2E}, 0.0)), i${c} >= least && i${c} < span.y);`)}
    ${g.store}
    workgroupBarrier();
    ${gt.load}
    ${p.dots("v", "own")}
    workgroupBarrier();
    var ownTop = vec2f();
    ${p.each((c) => `let s${c} = p${c} * ((${p.score(c)}) * (valueScale * facts[${p.other(c)}].y) - facts[${p.other(c)}].w) * params.scale * facts[${p.other(c)}].x; ownTop = max(ownTop, vec2f(abs(s${c}), p${c} * facts[${p.other(c)}].y));`)}
    tops[thread] = ownTop;
    ${gt.store}
    workgroupBarrier();
    ${p.fold("top", (a, b) => `max(${a}, ${b})`)}
    var shrink = vec2f(1.0);
    ${growRow(0, "top.x", "shrink.x")}
    ${growRow(1, "top.y", "shrink.y")}
    if (quarter == 0u) { factors[r] = shrink; }
    ${p.put((c) => `p${c} * facts[${p.other(c)}].y * grow1`)}
    if (workgroupUniformLoad(&grown) != 0u) {
      ${p.rescale("y", "x")}
      ${p.rescale("z", "y")}
    }
    ${qt.load}
    ${p.blend("z")}
    workgroupBarrier();
    ${p.put((c) => `s${c} * grow0`)}
    ${qt.store}
    workgroupBarrier();
    ${p.blend("y")}
  }
  if (quarter == 0u) { factors[r] = vec2f(inverse(grow0), inverse(grow1)); }
  workgroupBarrier();
  ${p.finish("y", "x", to(1))}
  ${p.finish("z", "y", to(2))}
}
`;
};

/** Compile-time parameters of a variant. */
interface AttentionDeltaVariant {
  headDim: number;
  /** rows of a workgroup, and threads of each */
  rows: number;
  lanes: number;
}

// attention_delta: delta = do . o of each row and head, beside its log-sum-exp
//
// Grid     one workgroup per `rows` rows; those beyond 65 535 continue along y
// Shapes   o, dout [count, headDim]   stats [count, 2]
// Writes   the second of stats by assignment
export const attentionDelta = ({ headDim, rows, lanes }: AttentionDeltaVariant) => `
struct Params { count: u32 }

@group(0) @binding(0) var<storage, read> o: array<vec4f>;
@group(0) @binding(1) var<storage, read> dout: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> stats: array<vec2f>;
@group(0) @binding(3) var<uniform> params: Params;
var<workgroup> shares: array<f32, ${rows * lanes}>;

@compute @workgroup_size(${rows * lanes})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = (group.y * grid.x + group.x) * ${rows}u + thread / ${lanes}u;
  let at = min(row, params.count - 1u) * ${headDim / 4}u;
  var share = 0.0;
  for (var i = thread % ${lanes}u; i < ${headDim / 4}u; i += ${lanes}u) { share += dot(o[at + i], dout[at + i]); }
  shares[thread] = share;
  workgroupBarrier();
  if (row >= params.count || thread % ${lanes}u != 0u) { return; }
  var delta = 0.0;
  for (var i = 0u; i < ${lanes}u; i++) { delta += shares[thread + i]; }
  stats[row].y = delta;
}
`;
