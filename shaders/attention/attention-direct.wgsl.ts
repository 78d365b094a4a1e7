import { type AttentionVariant, lines, range } from "./lib/tiles.ts";

// Attention in tiles, for CPU adapters without small subgroups: few barriers, little code. A workgroup has TX × 16 threads and 64
// rows, four a thread, which it reads from memory; it walks over the rows of the other side, `span` at a time, which lie in
// workgroup memory. Scores of a thread: its 4 rows by span / TX; sums: its 4 rows by every TX-th vec4 of a head. Both tiles are
// swizzled by row, so that lanes that read one column of 8 rows meet no bank twice.

/** Compile-time parameters of a variant; a thread always has four rows. */
type DirectVariant = Omit<AttentionVariant, "rows">;

/** Rows of a workgroup's tile. */
export const TILE_ROWS = 64;
/** Groups of four rows. */
const DOWN = TILE_ROWS / 4;

const ROWS = range(4);

/** Vec4s between rows of a tile in workgroup memory. */
const pitch = (v: DirectVariant) => Math.ceil(v.headDim / 4 / v.across) * v.across;

/** Code shared by the three kernels. */
function pieces(v: DirectVariant) {
  const quads = v.headDim / 4;
  const scores = range(v.span / v.across);
  const columns = range(pitch(v) / v.across);
  const slot = (row: string, column: string) => `other[${row} * ${pitch(v)}u + ((${column}) ^ (${row} & 7u))]`;
  return {
    scores,
    columns,
    quads,
    /** vec4s of a row of qkv */
    width: (v.heads + 2 * v.kvHeads) * quads,
    keysAt: v.heads * quads,
    valuesAt: (v.heads + v.kvHeads) * quads,
    group: v.heads / v.kvHeads,
    /** WGSL of one past the last key that a row of the tile sees */
    last: v.causal ? "tileEnd" : "spans[tileEnd - 1u].y",
    declare: `
var<workgroup> other: array<vec4f, ${v.span * pitch(v)}>;
var<workgroup> factors: array<vec4f, ${v.span * DOWN}>; // [span, 16]: for each row of the other side and four rows of this side`,
    main: `
@compute @workgroup_size(${v.across * DOWN})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let head = group.y;
  let tx = thread % ${v.across}u;
  let ty = thread / ${v.across}u;
  let tile = group.x * ${TILE_ROWS}u;
  let tileEnd = min(tile + ${TILE_ROWS}u, params.tokens);
  let rows = min(vec4u(tile + ty * 4u) + vec4u(0u, 1u, 2u, 3u), vec4u(params.tokens - 1u));`,
    /** loads the other side's rows from `first` into workgroup memory; past the end, repeats the last row */
    fill: (buffer: string, first: string, end: string, stride: number, at: string) => `
    for (var e = thread; e < ${v.span * quads}u; e += ${v.across * DOWN}u) {
      let row = e / ${quads}u;
      let column = e % ${quads}u;
      ${slot("row", "column")} = ${buffer}[min(${first} + row, ${end} - 1u) * ${stride}u + ${at} + column];
    }
    workgroupBarrier();`,
    /** `{sum}{n}[r] = own row r · the other side's row n * across + tx` */
    dots: (sum: string, buffer: string, at: string) => `
    ${lines(scores.map((n) => `var ${sum}${n} = vec4f();`))}
    for (var c = 0u; c < params.quads; c++) {
      ${lines(ROWS.map((r) => `let x${r} = ${buffer}[${at}[${r}] + c];`))}
      ${lines(
        scores.flatMap((n) => [
          `let y${n} = ${slot(`(${n * v.across}u + tx)`, "c")};`,
          `${sum}${n} += vec4f(${ROWS.map((r) => `dot(x${r}, y${n})`).join(", ")});`,
        ]),
      )}
    }`,
    /** stores the processed scores for `blend` */
    put: (name: string) =>
      lines(
        scores.map((n) => `factors[${n * v.across}u * ${DOWN}u + tx * ${DOWN}u + (ty ^ (tx & 7u))] = ${name}${n};`),
      ),
    sums: (name: string) => lines(ROWS.flatMap((r) => columns.map((j) => `var ${name}${r}_${j} = vec4f();`))),
    /** `{sum}{r}_{j} += factor[r] * other` over all rows of the other side */
    blend: (sum: string) => `
    for (var n = 0u; n < params.span; n++) {
      let f = factors[n * ${DOWN}u + (ty ^ (n & 7u))];
      ${lines(
        columns.flatMap((j) => [
          `let w${j} = ${slot("n", `tx + ${j * v.across}u`)};`,
          ...ROWS.map((r) => `${sum}${r}_${j} = fma(vec4f(f[${r}]), w${j}, ${sum}${r}_${j});`),
        ]),
      )}
    }`,
    /** stores a thread's sums, each passed through `value` */
    store: (buffer: string, at: string, value: (r: number, j: number) => string) =>
      lines(
        ROWS.map(
          (r) => `if (tile + ty * 4u + ${r}u < params.tokens) {
      ${lines(columns.map((j) => `if (tx + ${j * v.across}u < ${quads}u) { ${buffer}[${at}[${r}] + tx + ${j * v.across}u] = ${value(r, j)}; }`))}
    }`,
        ),
      ),
    /** folds `name` over all threads that share the rows */
    fold: (name: string, folded: string, operation: (a: string, b: string) => string) => `
    factors[tx * ${DOWN}u + ty] = ${name};
    workgroupBarrier();
    var ${folded} = factors[ty];
    for (var t = 1u; t < ${v.across}u; t++) { ${folded} = ${operation(folded, `factors[t * ${DOWN}u + ty]`)}; }
    workgroupBarrier();`,
  };
}

// attention_direct: o = softmax(scale * q k^T + causal mask) v within each sequence; without `causal` a row sees its whole sequence
//
// Grid     x: tiles of 64 query rows; y: query heads
// Shapes   qkv [tokens, (heads + 2 kvHeads) * headDim]: query heads, key heads, value heads   o [tokens, heads * headDim]
//          spans [tokens, 2]: first token of the row's sequence, and one past its last   stats [tokens, heads, 2]: the
//          log-sum-exp; the second is for the backward pass   quads, span: from the variant, as parameters, so that no
//          compiler unrolls the loops
// Writes   o and stats by assignment
// Numbers  online softmax: no memory grows with the square of the length; a tile reads only its visible keys, sequence
//          by sequence, so that a row's bits do not depend on earlier rows of the batch; visibility is tested only at
//          the diagonal and at the start of a sequence
// Source   Dao 2023, arXiv:2307.08691; Milakov and Gimelshein 2018, arXiv:1805.02867
export const attentionDirect = (v: DirectVariant) => {
  const p = pieces(v);
  return `
struct Params { tokens: u32, scale: f32, quads: u32, span: u32 }

@group(0) @binding(0) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read> spans: array<vec2u>;
@group(0) @binding(2) var<storage, read_write> o: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> stats: array<vec2f>;
@group(0) @binding(4) var<uniform> params: Params;
${p.declare}
${p.main}
  let first = spans[tile].x; // starts never decrease from row to row, so the tile's first row sees the earliest key
  let whole = spans[tileEnd - 1u].x; // from here on, keys are in every row's sequence
  let starts = vec4u(${ROWS.map((r) => `spans[rows[${r}]].x`).join(", ")});
  let keysAt = ${p.keysAt}u + head / ${p.group}u * ${p.quads}u;
  let at = rows * ${p.width}u + head * ${p.quads}u;
  let to = (rows * ${v.heads}u + head) * ${p.quads}u;
  var m = vec4f(-1.0e30);
  var l = vec4f();
  ${p.sums("y")}
  let last = ${p.last};
  for (var start = first; start < last; start = spans[start].y) {
  let end = min(spans[start].y, last);
  for (var j = start; j < end; j += ${v.span}u) {
    ${p.fill("qkv", "j", "end", p.width, "keysAt")}
    ${p.dots("s", "qkv", "at")}
    ${lines(p.scores.map((n) => `s${n} *= params.scale;`))}
    if (${v.causal ? `start < whole || j + ${v.span}u > tile + 1u` : `first != whole || j + ${v.span}u > end`}) {
      ${lines(
        p.scores.flatMap((n) => [
          `let key${n} = vec4u(j + ${n * v.across}u + tx);`,
          `s${n} = select(vec4f(-3.0e38), s${n}, (vec4u(start) == starts) & (key${n} ${v.causal ? "<= rows" : "< vec4u(end)"}));`,
        ]),
      )}
    }
    let own = ${p.scores.reduce((max, n) => `max(${max}, s${n})`, "m")};
    ${p.fold("own", "top", (a, b) => `max(${a}, ${b})`)}
    let shrink = exp(m - top);
    m = top;
    ${lines(p.scores.map((n) => `s${n} = exp(s${n} - top);`))}
    l = l * shrink + ${p.scores.map((n) => `s${n}`).join(" + ")}; // over the thread's own keys, until the end
    ${p.put("s")}
    ${p.fill("qkv", "j", "end", p.width, `${p.valuesAt - p.keysAt}u + keysAt`)}
    ${lines(ROWS.flatMap((r) => p.columns.map((j) => `y${r}_${j} *= shrink[${r}];`)))}
    ${p.blend("y")}
    workgroupBarrier();
  }
  }
  ${p.fold("l", "total", (a, b) => `${a} + ${b}`)}
  ${p.store("o", "to", (r, j) => `y${r}_${j} / total[${r}]`)}
  if (tx == 0u) {
    let lse = m + log(total);
    ${lines(ROWS.map((r) => `if (tile + ty * 4u + ${r}u < params.tokens) { stats[rows[${r}] * ${v.heads}u + head] = vec2f(lse[${r}], 0.0); }`))}
  }
}
`;
};

// attention_direct_backward_q: dq = scale * ds k, ds = p * (dp - delta), p = exp(scale * q k^T - lse), dp = do v^T, delta = do . o
//
// Grid     x: tiles of 64 query rows; y: query heads
// Shapes   qkv, spans as above   o, dout [tokens, heads * headDim]   stats [tokens, heads, 2]: lse, delta
//          parts [tokens, 3, heads, headDim]: dq, and a query head's parts of dk and dv (attention-gather.wgsl.ts)
// Writes   the first of parts by assignment, and delta into stats, for attention_direct_backward_kv
export const attentionDirectBackwardQ = (v: DirectVariant) => {
  const p = pieces(v);
  return `
struct Params { tokens: u32, scale: f32, quads: u32, span: u32 }

@group(0) @binding(0) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read> spans: array<vec2u>;
@group(0) @binding(2) var<storage, read> o: array<vec4f>;
@group(0) @binding(3) var<storage, read> dout: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> parts: array<vec4f>;
@group(0) @binding(6) var<uniform> params: Params;
${p.declare}
${p.main}
  let first = spans[tile].x;
  let whole = spans[tileEnd - 1u].x;
  let starts = vec4u(${ROWS.map((r) => `spans[rows[${r}]].x`).join(", ")});
  let keysAt = ${p.keysAt}u + head / ${p.group}u * ${p.quads}u;
  let at = rows * ${p.width}u + head * ${p.quads}u;
  let from4 = (rows * ${v.heads}u + head) * ${p.quads}u;
  let to = (rows * ${3 * v.heads}u + head) * ${p.quads}u;
  var share = vec4f();
  for (var c = tx; c < params.quads; c += ${v.across}u) {
    share += vec4f(${ROWS.map((r) => `dot(o[from4[${r}] + c], dout[from4[${r}] + c])`).join(", ")});
  }
  ${p.fold("share", "delta", (a, b) => `${a} + ${b}`)}
  let lse = vec4f(${ROWS.map((r) => `stats[rows[${r}] * ${v.heads}u + head].x`).join(", ")});
  ${p.sums("y")}
  let last = ${p.last};
  for (var j = first; j < last; j += ${v.span}u) {
    ${p.fill("qkv", "j", "last", p.width, `${p.valuesAt - p.keysAt}u + keysAt`)}
    ${p.dots("dp", "dout", "from4")}
    workgroupBarrier();
    ${p.fill("qkv", "j", "last", p.width, "keysAt")}
    ${p.dots("s", "qkv", "at")}
    ${lines(p.scores.map((n) => `s${n} = exp(min(params.scale * s${n} - lse, vec4f())) * (dp${n} - delta) * params.scale;`))}
    if (j < whole || j + ${v.span}u > ${v.causal ? "tile + 1u" : "spans[tile].y"}) {
      ${v.causal ? "" : `let ends = vec4u(${ROWS.map((r) => `spans[rows[${r}]].y`).join(", ")});`}
      ${lines(
        p.scores.flatMap((n) => [
          `let key${n} = vec4u(j + ${n * v.across}u + tx);`,
          `s${n} = select(vec4f(), s${n}, (key${n} >= starts) & (key${n} ${v.causal ? "<= rows" : "< ends"}));`,
        ]),
      )}
    }
    ${p.put("s")}
    workgroupBarrier();
    ${p.blend("y")}
    workgroupBarrier();
  }
  ${p.store("parts", "to", (r, j) => `y${r}_${j}`)}
  if (tx == 0u) {
    ${lines(ROWS.map((r) => `if (tile + ty * 4u + ${r}u < params.tokens) { stats[rows[${r}] * ${v.heads}u + head].y = delta[${r}]; }`))}
  }
}
`;
};

// attention_direct_backward_kv: a query head's parts of dk = scale * ds^T q and dv = p^T do
//
// Grid     x: tiles of 64 keys; y: query heads. Key-major: no atomics, deterministic sums
// Shapes   as above
// Writes   the second and third of parts by assignment
export const attentionDirectBackwardKv = (v: DirectVariant) => {
  const p = pieces(v);
  const stride = v.heads * p.quads;
  return `
struct Params { tokens: u32, scale: f32, quads: u32, span: u32 }

@group(0) @binding(0) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read> spans: array<vec2u>;
@group(0) @binding(2) var<storage, read> dout: array<vec4f>;
@group(0) @binding(3) var<storage, read> stats: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> parts: array<vec4f>;
@group(0) @binding(5) var<uniform> params: Params;
${p.declare}
${p.main}
  let whole = spans[tile].y; // queries before this are in every key's sequence: ends never decrease either
  let last = spans[tileEnd - 1u].y;
  let ends = vec4u(${ROWS.map((r) => `spans[rows[${r}]].y`).join(", ")});
  let at = rows * ${p.width}u + ${p.keysAt}u + head / ${p.group}u * ${p.quads}u;
  let valuesAt = at + ${p.valuesAt - p.keysAt}u;
  let to = (rows * ${3 * v.heads}u + ${v.heads}u + head) * ${p.quads}u;
  let toValues = to + ${stride}u;
  let headAt = head * ${p.quads}u;
  ${p.sums("y")}
  ${p.sums("z")}
  for (var i = ${v.causal ? "tile" : "spans[tile].x"}; i < last; i += ${v.span}u) {
    ${p.fill("qkv", "i", "last", p.width, "headAt")}
    ${p.dots("s", "qkv", "at")}
    ${lines(
      p.scores.flatMap((n) => [
        `let query${n} = i + ${n * v.across}u + tx; let known${n} = stats[min(query${n}, last - 1u) * ${v.heads}u + head];`,
        `s${n} = exp(min(params.scale * s${n} - known${n}.x, vec4f()));`,
      ]),
    )}
    if (i < ${v.causal ? "tileEnd" : "spans[tileEnd - 1u].x"} || i + ${v.span}u > whole) {
      ${v.causal ? "" : `let starts = vec4u(${ROWS.map((r) => `spans[rows[${r}]].x`).join(", ")});`}
      ${lines(p.scores.map((n) => `s${n} = select(vec4f(), s${n}, (vec4u(query${n}) >= ${v.causal ? "rows" : "starts"}) & (vec4u(query${n}) < ends));`))}
    }
    workgroupBarrier();
    ${p.put("s")}
    ${p.fill("dout", "i", "last", stride, "headAt")}
    ${p.dots("dp", "qkv", "valuesAt")}
    ${p.blend("z")}
    workgroupBarrier();
    ${lines(p.scores.map((n) => `s${n} *= (dp${n} - known${n}.y) * params.scale;`))}
    ${p.put("s")}
    ${p.fill("qkv", "i", "last", p.width, "headAt")}
    ${p.blend("y")}
    workgroupBarrier();
  }
  ${p.store("parts", "to", (r, j) => `y${r}_${j}`)}
  ${p.store("parts", "toValues", (r, j) => `z${r}_${j}`)}
}
`;
};
