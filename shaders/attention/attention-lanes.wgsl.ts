// Attention on CPU adapters, whose subgroups have 4 or 8 lanes. There, a load costs as much as a hundred products. So a
// workgroup is one subgroup; each lane holds some query rows, loads some keys and broadcasts them. This needs no shared
// workgroup memory and no barriers, at which such adapters spill every sum. Figures and experiments: bench/LOG.md.

/** Compile-time parameters of a variant. */
interface AttentionLanesVariant {
  /** elements of a head, a multiple of 4 */
  headDim: number;
  /** query heads */
  heads: number;
  /** key and value heads; divides `heads` */
  kvHeads: number;
  /** lanes per subgroup = threads per workgroup */
  lanes: number;
  /** query rows per lane */
  rows: number;
  /** keys per lane */
  keys: number;
  /** a row sees its sequence up to itself, instead of all of it */
  causal: boolean;
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i);
/** Elements of a head per step: a vec4. */
const ELEMENTS = range(4);
const lines = (texts: string[]) => texts.join("\n      ");

/** Sizes and code shared by a variant's kernels. */
function pieces({ headDim, heads, kvHeads, lanes, rows, keys }: AttentionLanesVariant) {
  /** element `e` of vec4 `g` / lanes of lane `g` mod lanes */
  const element = (name: string, g: number, e: number) =>
    `subgroupBroadcast(${name}${Math.floor(g / lanes)}[${e}], ${g % lanes}u)`;
  return {
    rows: range(rows),
    keys: range(keys),
    allRows: range(rows * lanes),
    allKeys: range(keys * lanes),
    tile: rows * lanes,
    step: keys * lanes,
    width: (heads + 2 * kvHeads) * headDim,
    /** start of the row's keys */
    keysAt: heads * headDim,
    valuesAt: (heads + kvHeads) * headDim,
    /** `{sum}{r}_{g} += {own}{r} · {shared}{g}` over four elements */
    dots: (sum: string, own: string, shared: string) =>
      lines(
        range(keys * lanes).flatMap((g) =>
          ELEMENTS.flatMap((e) => [
            `let ${shared}${g}_${e} = ${element(shared, g, e)};`,
            ...range(rows).map((r) => `${sum}${r}_${g} = fma(${own}${r}[${e}], ${shared}${g}_${e}, ${sum}${r}_${g});`),
          ]),
        ),
      ),
    /** `{sum}{r}_{e} += {factor}{r}_{g} * {shared}{g}[e]` over `count` shared rows, for each of four elements */
    blend: (sum: string, factor: string, shared: string, own: number[], count: number) =>
      lines(
        ELEMENTS.flatMap((e) =>
          range(count).flatMap((g) => [
            `let ${shared}${g}_${e} = ${element(shared, g, e)};`,
            ...own.map((r) => `${sum}${r}_${e} = fma(${factor}${r}_${g}, ${shared}${g}_${e}, ${sum}${r}_${e});`),
          ]),
        ),
      ),
    /** four sums `{sum}{r}_0` … as a vec4 */
    vector: (sum: string, r: number) => `vec4f(${ELEMENTS.map((e) => `${sum}${r}_${e}`).join(", ")})`,
    main: `
@compute @workgroup_size(${lanes})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let part = lane & ${lanes - 1}u;`,
  };
}

// attention: o = softmax(scale * q k^T + causal mask) v within each sequence; without `causal` a row sees its whole sequence
//
// Grid     x: tiles of query rows; y: query heads
// Shapes   qkv [tokens, (heads + 2 kvHeads) * headDim]: query heads, key heads, value heads   o [tokens, heads * headDim]
//          spans [tokens, 2]: first token of the row's sequence, and one past its last   stats [tokens, heads, 2]: the
//          log-sum-exp; the second is for the backward pass   dim: headDim, as a parameter, so that no compiler unrolls
//          the loops
// Writes   o and stats by assignment; o accumulates in workgroup memory, each lane in its own rows
// Numbers  online softmax: no memory grows with the square of the length; a tile reads only its visible keys, sequence
//          by sequence, so that a row's bits do not depend on earlier rows of the batch
// Source   Dao 2023, arXiv:2307.08691; Milakov and Gimelshein 2018, arXiv:1805.02867
export const attentionLanes = (v: AttentionLanesVariant) => {
  const p = pieces(v);
  const sum = (r: number) => `sums[((c / 4u) * ${v.rows}u + ${r}u) * ${v.lanes}u + part]`;
  return `enable subgroups;
struct Params { tokens: u32, scale: f32, dim: u32 }

@group(0) @binding(0) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read> spans: array<vec2u>;
@group(0) @binding(2) var<storage, read_write> o: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> stats: array<vec2f>;
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> sums: array<vec4f, ${(p.tile * v.headDim) / 4}>;
${p.main}
  let head = group.y;
  let tile = group.x * ${p.tile}u;
  let first = spans[tile].x; // starts never decrease from row to row, so the tile's first row sees the earliest key
  let ${v.causal ? "last" : "tileEnd"} = min(tile + ${p.tile}u, params.tokens);
  ${v.causal ? "" : "let last = spans[tileEnd - 1u].y;"}
  let keysAt = ${p.keysAt}u + head / ${v.heads / v.kvHeads}u * ${v.headDim}u;
  ${lines(
    p.rows.flatMap((r) => [
      `let row${r} = min(tile + ${r * v.lanes}u + part, params.tokens - 1u);`,
      `let start${r} = spans[row${r}].x; let q${r}At = row${r} * ${p.width}u + head * ${v.headDim}u; var m${r} = -3.0e38; var l${r} = 0.0;`,
    ]),
  )}
  for (var start = first; start < last; start = spans[start].y) {
  let end = min(spans[start].y, last);
  for (var j = start; j < end; j += ${p.step}u) {
    ${lines(p.keys.map((l) => `let k${l}At = min(j + ${l * v.lanes}u + part, end - 1u) * ${p.width}u + keysAt;`))}
    ${lines(p.rows.flatMap((r) => p.allKeys.map((g) => `var s${r}_${g} = 0.0;`)))}
    for (var c = 0u; c < params.dim; c += 4u) {
      ${lines(p.rows.map((r) => `let x${r} = qkv[(q${r}At + c) / 4u];`))}
      ${lines(p.keys.map((l) => `let k${l} = qkv[(k${l}At + c) / 4u];`))}
      ${p.dots("s", "x", "k")}
    }
    ${lines(
      p.rows.flatMap((r) => [
        ...p.allKeys.flatMap((g) => [
          `let seen${r}_${g} = start == start${r} && j + ${g}u ${v.causal ? `<= row${r}` : "< end"};`,
          `s${r}_${g} = select(-1.0e38, params.scale * s${r}_${g}, seen${r}_${g});`,
        ]),
        `let top${r} = ${p.allKeys.reduce((max, g) => `max(${max}, s${r}_${g})`, `m${r}`)};`,
        `let shrink${r} = exp(m${r} - top${r}); m${r} = top${r};`,
        ...p.allKeys.map((g) => `let p${r}_${g} = select(0.0, exp(s${r}_${g} - top${r}), seen${r}_${g});`),
        `l${r} = l${r} * shrink${r} + ${p.allKeys.map((g) => `p${r}_${g}`).join(" + ")};`,
      ]),
    )}
    for (var c = 0u; c < params.dim; c += 4u) {
      ${lines(p.keys.map((l) => `let w${l} = qkv[(k${l}At + ${p.valuesAt - p.keysAt}u + c) / 4u];`))}
      ${lines(p.rows.map((r) => `var old${r} = vec4f();`))}
      if (j > first) { ${lines(p.rows.map((r) => `old${r} = shrink${r} * ${sum(r)};`))} }
      ${lines(p.rows.flatMap((r) => ELEMENTS.map((e) => `var y${r}_${e} = old${r}[${e}];`)))}
      ${p.blend("y", "p", "w", p.rows, p.step)}
      ${lines(p.rows.map((r) => `${sum(r)} = ${p.vector("y", r)};`))}
    }
  }
  }
  ${lines(
    p.rows.map(
      (r) => `if (tile + ${r * v.lanes}u + part < params.tokens) { // past the edge, a lane repeats the last row
    for (var c = 0u; c < params.dim; c += 4u) { o[((row${r} * ${v.heads}u + head) * ${v.headDim}u + c) / 4u] = ${sum(r)} / l${r}; }
    stats[row${r} * ${v.heads}u + head] = vec2f(m${r} + log(l${r}), 0.0);
  }`,
    ),
  )}
}
`;
};

// attention_backward: dq = scale * ds k, dk = scale * ds^T q, dv = p^T do, ds = p * (dp - delta), p = exp(scale * q k^T - lse),
// dp = do v^T, delta = do . o: five products in one pass; p and ds are transposed within the subgroup
//
// Grid     x: ranges of `chunk` tokens, with the sequences that begin there; y: query heads. A workgroup handles whole
//          sequences of one head, so that all sums are its own: no atomics, deterministic sums
// Shapes   qkv as above   o, dout [tokens, heads * headDim]   stats [tokens, heads, 2]: the log-sum-exp, and delta
//          parts [tokens, 3, heads, headDim]: dq, and the query head's parts of dk and dv, which
//          attention-gather.wgsl.ts sums
// Writes   parts and delta by assignment
// Tried    rows and keys in workgroup memory, with barriers: took 1.4 times as long; more in bench/LOG.md
export const attentionLanesBackward = (v: AttentionLanesVariant) => {
  const p = pieces(v);
  /** adds to four elements of the lane's rows of parts */
  const add = (own: number[], factor: string, count: number, at: string, live: string, grown: string) => `
        ${lines(own.map((r) => `var old${r} = vec4f();`))}
        if (${grown}) { ${lines(own.map((r) => `old${r} = parts[(${at}${r} + c) / 4u];`))} }
        ${lines(own.flatMap((r) => ELEMENTS.map((e) => `var z${r}_${e} = old${r}[${e}];`)))}
        ${p.blend("z", factor, "y", own, count)}
        ${lines(own.map((r) => `if (${live}${r}) { parts[(${at}${r} + c) / 4u] = ${p.vector("z", r)}; }`))}`;
  /** the lane's column of a matrix whose rows are in the lanes: entry g is the row's value for this lane's key */
  const turned = (name: string, r: number, g: number) => {
    const held = (l: number) =>
      `subgroupBroadcast(${name}${Math.floor(g / v.lanes)}_${r * v.lanes + l}, ${g % v.lanes}u)`;
    return range(v.lanes).reduce((value, l) => (l ? `select(${value}, ${held(l)}, part == ${l}u)` : held(0)), "");
  };
  const partsRow = 3 * v.heads * v.headDim;
  return `enable subgroups;
struct Params { tokens: u32, scale: f32, dim: u32, chunk: u32 }

@group(0) @binding(0) var<storage, read> qkv: array<vec4f>;
@group(0) @binding(1) var<storage, read> spans: array<vec2u>;
@group(0) @binding(2) var<storage, read> o: array<vec4f>;
@group(0) @binding(3) var<storage, read> dout: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> parts: array<vec4f>;
@group(0) @binding(6) var<uniform> params: Params;
${p.main}
  let head = group.y;
  let headAt = head * ${v.headDim}u;
  let keysAt = ${p.keysAt}u + head / ${v.heads / v.kvHeads}u * ${v.headDim}u;
  let lower = group.x * params.chunk;
  let upper = min(lower + params.chunk, params.tokens);
  let span = spans[lower];
  for (var start = select(span.y, lower, span.x == lower); start < upper; start = spans[start].y) {
    let end = spans[start].y;
    for (var i = start + part; i < end; i += ${v.lanes}u) {
      let at = i * ${p.keysAt}u + headAt;
      var delta = 0.0;
      for (var c = 0u; c < params.dim; c += 4u) { delta += dot(o[(at + c) / 4u], dout[(at + c) / 4u]); }
      stats[i * ${v.heads}u + head].y = delta; // only this lane reads it
    }
    for (var j = start; j < end; j += ${p.step}u) {
      ${lines(
        p.keys.flatMap((l) => [
          `let key${l} = min(j + ${l * v.lanes}u + part, end - 1u); let liveKey${l} = j + ${l * v.lanes}u + part < end;`,
          `let k${l}At = key${l} * ${p.width}u + keysAt;`,
        ]),
      )}
      for (var i = ${v.causal ? `start + (j - start) / ${p.tile}u * ${p.tile}u` : "start"}; i < end; i += ${p.tile}u) {
        ${lines(
          p.rows.flatMap((r) => [
            `let row${r} = min(i + ${r * v.lanes}u + part, end - 1u); let live${r} = i + ${r * v.lanes}u + part < end;`,
            `let q${r}At = row${r} * ${p.width}u + headAt; let d${r}At = row${r} * ${p.keysAt}u + headAt; let dq${r} = row${r} * ${partsRow}u + headAt;`,
            `let known${r} = stats[row${r} * ${v.heads}u + head]; let lse${r} = known${r}.x; let delta${r} = select(0.0, known${r}.y, live${r});`,
          ]),
        )}
        ${lines(p.rows.flatMap((r) => p.allKeys.map((g) => `var p${r}_${g} = 0.0; var ds${r}_${g} = 0.0;`)))}
        for (var turn = 0u; turn < 2u; turn++) { // q k^T, then do v^T
          ${lines(p.keys.map((l) => `let y${l}At = select(k${l}At, k${l}At + ${p.valuesAt - p.keysAt}u, turn > 0u);`))}
          ${lines(p.rows.flatMap((r) => p.allKeys.map((g) => `p${r}_${g} = ds${r}_${g}; ds${r}_${g} = 0.0;`)))}
          for (var c = 0u; c < params.dim; c += 4u) {
            ${lines(p.keys.map((l) => `let y${l} = qkv[(y${l}At + c) / 4u];`))}
            ${lines(p.rows.map((r) => `var x${r} = vec4f();`))}
            if (turn == 0u) { ${lines(p.rows.map((r) => `x${r} = qkv[(q${r}At + c) / 4u];`))} }
            else { ${lines(p.rows.map((r) => `x${r} = dout[(d${r}At + c) / 4u];`))} }
            ${p.dots("ds", "x", "y")}
          }
        }
        ${lines(
          p.rows.flatMap((r) =>
            p.allKeys.flatMap((g) => [
              `p${r}_${g} = select(0.0, exp(min(params.scale * p${r}_${g} - lse${r}, 0.0)), live${r} && j + ${g}u ${v.causal ? `<= row${r}` : "< end"});`,
              `ds${r}_${g} = p${r}_${g} * (ds${r}_${g} - delta${r}) * params.scale;`,
            ]),
          ),
        )}
        for (var c = 0u; c < params.dim; c += 4u) {
          ${lines(p.keys.map((l) => `let y${l} = qkv[(k${l}At + c) / 4u];`))}
          ${add(p.rows, "ds", p.step, "dq", "live", "j > start")}
        }
        for (var turn = 0u; turn < 2u; turn++) { // dk, then dv: the lane's keys sum over all rows
          ${lines(p.rows.flatMap((r) => p.allKeys.map((g) => `let m${r}_${g} = select(ds${r}_${g}, p${r}_${g}, turn > 0u);`)))}
          ${lines(p.keys.flatMap((r) => p.allRows.map((g) => `let t${r}_${g} = ${turned("m", r, g)};`)))}
          ${lines(p.keys.map((l) => `let to${l} = key${l} * ${partsRow}u + (turn + 1u) * ${p.keysAt}u + headAt;`))}
          for (var c = 0u; c < params.dim; c += 4u) {
            ${lines(p.rows.map((r) => `var y${r} = vec4f();`))}
            if (turn == 0u) { ${lines(p.rows.map((r) => `y${r} = qkv[(q${r}At + c) / 4u];`))} }
            else { ${lines(p.rows.map((r) => `y${r} = dout[(d${r}At + c) / 4u];`))} }
            ${add(p.keys, "t", p.tile, "to", "liveKey", v.causal ? "i > j" : "i > start")}
          }
        }
      }
    }
  }
}
`;
};
