import { type AttentionVariant, attentionPieces, lines, range } from "./lib/tiles.ts";

// attention: o = softmax(scale * q k^T + causal mask) v within each sequence; without `causal` a row sees its whole sequence
//
// Grid     x: tiles of query rows from firstTile; y: query heads
// Shapes   qkv [tokens, (heads + 2 kvHeads) * headDim]: query heads, key heads, value heads   o [tokens, heads * headDim]
//          spans [tokens, 2]: first token of the row's sequence, and one past its last   stats [tokens, heads, 2]: the
//          log-sum-exp; the second is for the backward pass
// Writes   o and stats by assignment
// Numbers  online softmax: no memory grows with the square of the length; a tile reads only its visible keys, sequence
//          by sequence, so that a row's bits do not depend on earlier rows of the batch; visibility is tested only at
//          the diagonal and at the start of a sequence
// Source   Dao 2023, arXiv:2307.08691; Milakov and Gimelshein 2018, arXiv:1805.02867
export const attention = (v: AttentionVariant) => {
  const p = attentionPieces(v);
  const scoresOf = (h: number) => p.scores.map((n) => `s${n}_${h}`);
  return `
struct Params { tokens: u32, firstTile: u32, scale: f32, chunks: u32, lots: u32 }

@group(0) @binding(0) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read> spans: array<vec2u>;
@group(0) @binding(2) var<storage, read_write> o: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> stats: array<vec2f>;
@group(0) @binding(4) var<uniform> params: Params;
${p.declare}
${p.main}
  let first = spans[tile].x; // starts never decrease from row to row, so the tile's first row sees the earliest key
  let whole = spans[tileEnd - 1u].x; // from here on, keys are in every row's sequence
  let headAt = head * ${p.quads}u;
  let keysAt = ${p.keysAt}u + head / ${p.group}u * ${p.quads}u;
  let valuesAt = ${p.valuesAt - p.keysAt}u + keysAt;
  ${lines(p.fours.map((h) => `var m${h} = vec4f(-1.0e30); var l${h} = vec4f();`))}
  ${p.sums("y")}
  let last = ${p.last};
  for (var start = first; start < last; start = spans[start].y) {
  let end = min(spans[start].y, last);
  for (var j = start; j < end; j += ${v.span}u) {
    ${p.dots("s", ["qkv", p.width, "headAt"], ["qkv", p.width, "keysAt"], "j", "end")}
    ${lines(p.all.map(([n, h]) => `s${n}_${h} *= params.scale;`))}
    if (${v.causal ? `start < whole || j + ${v.span}u > tile + 1u` : `first != whole || j + ${v.span}u > end`}) {
      ${p.ofRows("starts", "vec4u", (row) => `spans[${row}].x`)}
      ${lines(
        p.all.map(
          ([n, h]) =>
            `s${n}_${h} = select(vec4f(-3.0e38), s${n}_${h}, (vec4u(start) == starts${h}) & (vec4u(j + ${n * v.across}u + tx) ${v.causal ? `<= rows${h}` : "< vec4u(end)"}));`,
        ),
      )}
    }
    ${lines(p.fours.map((h) => `let own${h} = ${scoresOf(h).reduce((max, s) => `max(${max}, ${s})`, `m${h}`)};`))}
    ${p.fold("own", "top", (a, b) => `max(${a}, ${b})`)}
    ${lines(p.fours.map((h) => `let shrink${h} = exp(m${h} - top${h}); m${h} = top${h};`))}
    ${lines(p.all.map(([n, h]) => `s${n}_${h} = exp(s${n}_${h} - top${h});`))}
    ${lines(p.fours.map((h) => `l${h} = l${h} * shrink${h} + ${scoresOf(h).join(" + ")};`))} // over the thread's own keys, until the end
    ${p.put("s")}
    ${lines(range(v.rows).flatMap((r) => p.columns.map((j) => `y${r}_${j} *= shrink${r >> 2}[${r & 3}];`)))}
    ${p.blend("y", ["qkv", p.width, "valuesAt"], "j", "end")}
  }
  }
  ${p.fold("l", "total", (a, b) => `${a} + ${b}`)}
  ${lines(p.fours.map((h) => `let to${h} = (rows${h} * ${v.heads}u + head) * ${p.quads}u;`))}
  ${p.store("o", "to", (r, j) => `y${r}_${j} / total${r >> 2}[${r & 3}]`)}
  if (tx == 0u) {
    ${lines(p.fours.map((h) => `let lse${h} = m${h} + log(total${h});`))}
    ${p.ifRow((_, h, e) => `stats[rows${h}[${e}] * ${v.heads}u + head] = vec2f(lse${h}[${e}], 0.0);`)}
  }
}
`;
};

// attention_backward_q: dq = scale * ds k, ds = p * (dp - delta), p = exp(scale * q k^T - lse), dp = do v^T, delta = do . o
//
// Grid     x: tiles of query rows from firstTile; y: query heads
// Shapes   qkv, spans as above   o, dout [tokens, heads * headDim]   stats [tokens, heads, 2]: lse, delta
//          parts [tokens, 3, heads, headDim]: dq, and a query head's parts of dk and dv (attention-gather.wgsl.ts)
// Writes   the first of parts by assignment, and delta into stats, for attention_backward_kv
export const attentionBackwardQ = (v: AttentionVariant) => {
  const p = attentionPieces(v);
  const stride = v.heads * p.quads;
  return `
struct Params { tokens: u32, firstTile: u32, scale: f32, chunks: u32, lots: u32 }

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
  let headAt = head * ${p.quads}u;
  let keysAt = ${p.keysAt}u + head / ${p.group}u * ${p.quads}u;
  let valuesAt = ${p.valuesAt - p.keysAt}u + keysAt;
  ${lines(p.fours.map((h) => `let from${h} = (rows${h} * ${v.heads}u + head) * ${p.quads}u; var share${h} = vec4f();`))}
  ${lines(
    p.columns.map((j) => {
      const c = `tx + ${j * v.across}u`;
      const dots = (h: number) => range(4).map((r) => `dot(o[from${h}[${r}] + ${c}], dout[from${h}[${r}] + ${c}])`);
      return `if (${c} < ${p.quads}u) { ${p.fours.map((h) => `share${h} += vec4f(${dots(h)});`).join(" ")} }`;
    }),
  )}
  ${p.fold("share", "delta", (a, b) => `${a} + ${b}`)}
  ${p.ofRows("lse", "vec4f", (row) => `stats[${row} * ${v.heads}u + head].x`)}
  ${p.sums("y")}
  let last = ${p.last};
  for (var j = first; j < last; j += ${v.span}u) {
    ${p.dots("dp", ["dout", stride, "headAt"], ["qkv", p.width, "valuesAt"], "j", "last")}
    ${p.dots("s", ["qkv", p.width, "headAt"], ["qkv", p.width, "keysAt"], "j", "last")}
    ${lines(
      p.all.map(
        ([n, h]) =>
          `s${n}_${h} = exp(min(params.scale * s${n}_${h} - lse${h}, vec4f())) * (dp${n}_${h} - delta${h}) * params.scale;`,
      ),
    )}
    if (j < whole || j + ${v.span}u > ${v.causal ? "tile + 1u" : "spans[tile].y"}) {
      ${p.ofRows("starts", "vec4u", (row) => `spans[${row}].x`)}
      ${v.causal ? "" : p.ofRows("ends", "vec4u", (row) => `spans[${row}].y`)}
      ${lines(
        p.all.flatMap(([n, h]) => [
          `let key${n}_${h} = vec4u(j + ${n * v.across}u + tx);`,
          `s${n}_${h} = select(vec4f(), s${n}_${h}, (key${n}_${h} >= starts${h}) & (key${n}_${h} ${v.causal ? `<= rows${h}` : `< ends${h}`}));`,
        ]),
      )}
    }
    ${p.put("s")}
    ${p.blend("y", ["qkv", p.width, "keysAt"], "j", "last")}
  }
  ${lines(p.fours.map((h) => `let to${h} = (rows${h} * ${3 * v.heads}u + head) * ${p.quads}u;`))}
  ${p.store("parts", "to", (r, j) => `y${r}_${j}`)}
  if (tx == 0u) {
    ${p.ifRow((_, h, e) => `stats[rows${h}[${e}] * ${v.heads}u + head].y = delta${h}[${e}];`)}
  }
}
`;
};

// attention_backward_kv: a query head's parts of dk = scale * ds^T q and dv = p^T do
//
// Grid     x: tiles of keys from firstTile; y: query heads. Key-major: no atomics, deterministic sums
// Shapes   as above
// Writes   the second and third of parts by assignment
export const attentionBackwardKv = (v: AttentionVariant) => {
  const p = attentionPieces(v);
  const stride = v.heads * p.quads;
  return `
struct Params { tokens: u32, firstTile: u32, scale: f32, chunks: u32, lots: u32 }

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
  let keysAt = ${p.keysAt}u + head / ${p.group}u * ${p.quads}u;
  let valuesAt = ${p.valuesAt - p.keysAt}u + keysAt;
  let headAt = head * ${p.quads}u;
  ${p.sums("y")}
  ${p.sums("z")}
  for (var i = ${v.causal ? "tile" : "spans[tile].x"}; i < last; i += ${v.span}u) {
    ${p.dots("s", ["qkv", p.width, "keysAt"], ["qkv", p.width, "headAt"], "i", "last")}
    ${lines(
      p.scores.flatMap((n) => [
        `let query${n} = i + ${n * v.across}u + tx; let known${n} = stats[min(query${n}, last - 1u) * ${v.heads}u + head];`,
        ...p.fours.map((h) => `s${n}_${h} = exp(min(params.scale * s${n}_${h} - known${n}.x, vec4f()));`),
      ]),
    )}
    if (i < ${v.causal ? "tileEnd" : "spans[tileEnd - 1u].x"} || i + ${v.span}u > whole) {
      ${v.causal ? "" : p.ofRows("starts", "vec4u", (row) => `spans[${row}].x`)}
      ${p.ofRows("ends", "vec4u", (row) => `spans[${row}].y`)}
      ${lines(p.all.map(([n, h]) => `s${n}_${h} = select(vec4f(), s${n}_${h}, (vec4u(query${n}) >= ${v.causal ? "rows" : "starts"}${h}) & (vec4u(query${n}) < ends${h}));`))}
    }
    ${p.put("s")}
    ${p.blend("z", ["dout", stride, "headAt"], "i", "last")}
    ${p.dots("dp", ["qkv", p.width, "valuesAt"], ["dout", stride, "headAt"], "i", "last")}
    ${lines(p.all.map(([n, h]) => `s${n}_${h} *= (dp${n}_${h} - known${n}.y) * params.scale;`))}
    ${p.put("s")}
    ${p.blend("y", ["qkv", p.width, "headAt"], "i", "last")}
  }
  ${lines(p.fours.map((h) => `let to${h} = (rows${h} * ${3 * v.heads}u + ${v.heads}u + head) * ${p.quads}u; let toValues${h} = to${h} + ${stride}u;`))}
  ${p.store("parts", "to", (r, j) => `y${r}_${j}`)}
  ${p.store("parts", "toValues", (r, j) => `z${r}_${j}`)}
}
`;
};
