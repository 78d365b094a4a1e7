// Code of tiled attention for GPUs: products of a tile of rows with rows of the other side, computed as in matmul.
//
// A workgroup has 64 own rows, or 32 of long heads, `rows` per thread, and walks over the rows of the other side, `span` at once.
// Scores are sums over a head, computed four quads at a time through workgroup memory (`left`, `right`). The processed scores are
// stored in `factors` and multiplied with rows of the other side, some at a time (in `right` again). A thread has
// `rows` by span / across scores, and sums of its rows by every across-th vec4 of a head. All offsets in workgroup
// memory are constants from two bases per thread, so no index must be clamped. Rows are an odd number of vec4s apart,
// so eight neighbours have no bank conflicts.

/** Compile-time parameters of a variant. */
export interface AttentionVariant {
  /** elements of a head, a multiple of 4 */
  headDim: number;
  /** query heads */
  heads: number;
  /** key and value heads; divides `heads` */
  kvHeads: number;
  /** rows of the other side at once: a multiple of `across` */
  span: number;
  /** threads that share rows */
  across: number;
  /** rows per thread: 4 or 8 */
  rows: number;
  /** a row sees its sequence up to itself, instead of all of it */
  causal: boolean;
  /** loops over threads are not unrolled: Mesa's renderer compiles them in half the time */
  rolled?: boolean;
}

/** Rows of a buffer: its name, vec4s between rows, and WGSL of a head's offset. */
type Rows = readonly [buffer: string, stride: number, at: string];

/** Threads of a workgroup that has four rows a thread. */
const THREADS = 256;

/** Own rows of a workgroup: the fewer, the more threads share a row. */
export const tileRows = ({ across }: Pick<AttentionVariant, "across">) => (4 * THREADS) / across;

/** Quads of a head per step of the scores, and vec4s between their rows. */
const CHUNK = 4;
const PITCH = CHUNK + 1;
/** Vec4s between rows of `factors`. */
const pitchOf = (v: Pick<AttentionVariant, "across">) => tileRows(v) / 4 + 1;

export const range = (n: number) => Array.from({ length: n }, (_, i) => i);
export const lines = (texts: string[]) => texts.join("\n    ");

type Sizes = Pick<AttentionVariant, "headDim" | "span">;

/** Rows of the other side that are blended at once: as many as fit the memory of the scores. */
function lotOf({ headDim, span }: Sizes): number {
  return [16, 8, 4, 2].find((lot) => span % lot === 0 && (lot * headDim) / 4 <= PITCH * span) ?? 1;
}

/** Vec4s of `right`. */
const rightOf = (v: Sizes) => Math.max(PITCH * v.span, (lotOf(v) * v.headDim) / 4);

/**
 * Iterations of the loops over a head and over the other side's rows: parameters, because compilers unroll constant
 * loops and run out of registers.
 */
export function attentionTurns(v: Sizes): { chunks: number; lots: number } {
  return { chunks: Math.ceil(v.headDim / 4 / CHUNK), lots: v.span / lotOf(v) };
}

/** Bytes of workgroup memory of a variant. */
export function attentionBytes(v: Sizes & Pick<AttentionVariant, "across">): number {
  return 16 * (PITCH * tileRows(v) + rightOf(v) + pitchOf(v) * v.span);
}

/**
 * A thread's share: scores of rows n · across + tx of the other side, every across-th column, its rows in groups of
 * four.
 */
function shareOf({ headDim, span, across, rows }: AttentionVariant) {
  const scores = range(span / across);
  const fours = range(rows / 4);
  return {
    quads: headDim / 4,
    scores,
    fours,
    all: scores.flatMap((n) => fours.map((h) => [n, h] as const)),
    columns: range(Math.ceil(headDim / 4 / across)),
  };
}

/** Threads of a workgroup. */
const threadsOf = (v: AttentionVariant) => v.across * (tileRows(v) / v.rows);

/** Moves `count` vec4s with all threads in turns; `e` is WGSL of a vec4's index. */
function each(v: AttentionVariant, count: number, text: (i: number, e: string) => string): string {
  const threads = threadsOf(v);
  return lines(
    range(Math.ceil(count / threads)).map((i) => {
      const e = i === 0 ? "thread" : `(thread + ${i * threads}u)`;
      return (i + 1) * threads <= count ? text(i, e) : `if (${e} < ${count}u) { ${text(i, e)} }`;
    }),
  );
}

/**
 * `{sum}{n}_{h}[r] = own row 4h + r · the other side's row n * across + tx`
 *
 * @param first the other side's first row, and one past its last readable row
 */
function dots(
  v: AttentionVariant,
  sum: string,
  own: Rows,
  other: Rows,
  [first, end]: readonly [string, string],
): string {
  const { scores, all, quads } = shareOf(v);
  const { rows, span, across } = v;
  const threads = threadsOf(v);
  const count = span * CHUNK;
  const ownCount = tileRows(v) * CHUNK;
  const place = (e: string) => `${e} / ${CHUNK}u * ${PITCH}u + (${e} & 3u)`;
  const quad = (of: Rows, at: string, e: string) => {
    const value = `${of[0]}[${at} + c * ${CHUNK}u]`;
    return quads % CHUNK === 0 ? value : `select(vec4f(), ${value}, c * ${CHUNK}u + (${e} & 3u) < ${quads}u)`;
  };
  const begin = (name: string, of: Rows, i: number, row: string) => {
    const e = i === 0 ? "thread" : `(thread + ${i * threads}u)`;
    return `let ${name}${i} = ${row.replace("ROW", `${e} / ${CHUNK}u`)} * ${of[1]}u + ${of[2]} + (${e} & 3u);`;
  };
  const step = (q: number) => `{
      ${lines(range(rows).map((r) => `let x${r} = left[ty * ${rows * PITCH}u + ${r * PITCH + q}u];`))}
      ${lines(scores.map((n) => `let y${n} = right[tx * ${PITCH}u + ${n * across * PITCH + q}u];`))}
      ${lines(
        range(4).flatMap((e) =>
          all.map(([n, h]) => {
            const x = `vec4f(${range(4).map((r) => `x${4 * h + r}[${e}]`)})`;
            return `${sum}${n}_${h} = fma(${x}, vec4f(y${n}[${e}]), ${sum}${n}_${h});`;
          }),
        ),
      )}
      }`;
  return `
    ${lines(all.map(([n, h]) => `var ${sum}${n}_${h} = vec4f();`))}
    {
    ${lines(range(Math.ceil(ownCount / threads)).map((i) => begin("own", own, i, "min(tile + ROW, params.tokens - 1u)")))}
    ${lines(range(Math.ceil(count / threads)).map((i) => begin("other", other, i, `min(${first} + ROW, ${end} - 1u)`)))}
    for (var c = 0u; c < params.chunks; c++) {
      workgroupBarrier();
      ${each(v, ownCount, (i, e) => `left[${place(e)}] = ${quad(own, `own${i}`, e)};`)}
      ${each(v, count, (i, e) => `right[${place(e)}] = ${quad(other, `other${i}`, e)};`)}
      workgroupBarrier();
      ${lines(range(CHUNK).map(step))}
    }
    }`;
}

/** `{sum}{r}_{j} += factor[r] * other` over the other side's rows from `first`; rows past `end` have factor 0 */
function blend(
  v: AttentionVariant,
  sum: string,
  [buffer, stride, at]: Rows,
  [first, end]: readonly [string, string],
): string {
  const { fours, columns, quads } = shareOf(v);
  const { rows, span, across } = v;
  const [lot, pitch] = [lotOf(v), pitchOf(v)];
  // if a head is not a whole number of columns, a thread past its end repeats the last column
  const column = (j: number) =>
    columns.length * across === quads ? "tx" : `min(tx, ${Math.max(0, quads - 1 - j * across)}u)`;
  const row = (n: number) => `{
      ${lines(fours.map((h) => `let f${h} = factors[fAt + ${n * pitch + h}u];`))}
      ${lines(
        columns.flatMap((j) => [
          `let w${j} = right[${column(j)} + ${n * quads + j * across}u];`,
          ...range(rows).map((r) => `${sum}${r}_${j} = fma(vec4f(f${r >> 2}[${r & 3}]), w${j}, ${sum}${r}_${j});`),
        ]),
      )}
      }`;
  return `
    for (var t = 0u; t < params.lots; t++) {
      workgroupBarrier();
      ${each(v, lot * quads, (_, e) => {
        const from = `min(${first} + t * ${lot}u + ${e} / ${quads}u, ${end} - 1u)`;
        return `right[${e}] = ${buffer}[${from} * ${stride}u + ${at} + ${e} % ${quads}u];`;
      })}
      workgroupBarrier();
      let fAt = min(t, ${span / lot - 1}u) * ${lot * pitch}u + ty * ${rows / 4}u;
      ${lines(range(lot).map(row))}
    }`;
}

/** folds `{name}{h}` of all threads that share the rows into `{folded}{h}` */
function fold(v: AttentionVariant, name: string, folded: string, operation: (a: string, b: string) => string): string {
  const { fours } = shareOf(v);
  const at = (t: string, h: number) => `factors[${t} * ${pitchOf(v)}u + ty * ${v.rows / 4}u + ${h}u]`;
  return `
    workgroupBarrier();
    ${lines(fours.map((h) => `${at("tx", h)} = ${name}${h};`))}
    workgroupBarrier();
    ${lines(fours.map((h) => `var ${folded}${h} = ${at("0u", h)};`))}
    for (var t = 1u; t < ${v.across}u${v.rolled ? " * min(params.tokens, 1u)" : ""}; t++) {
      ${lines(fours.map((h) => `${folded}${h} = ${operation(`${folded}${h}`, at("t", h))};`))}
    }
    workgroupBarrier();`;
}

const MAIN = (v: AttentionVariant) => `
@compute @workgroup_size(${v.across}, ${tileRows(v) / v.rows})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let head = group.y;
  let tx = local.x;
  let ty = local.y;
  let tile = (group.x + params.firstTile) * ${tileRows(v)}u;
  let tileEnd = min(tile + ${tileRows(v)}u, params.tokens);
  ${lines(
    range(v.rows / 4).map((h) => {
      const first = `vec4u(tile + ty * ${v.rows}u) + vec4u(${range(4).map((r) => `${4 * h + r}u`)})`;
      return `let rows${h} = min(${first}, vec4u(params.tokens - 1u));`;
    }),
  )}`;

/** Code shared by the three kernels. */
export function attentionPieces(v: AttentionVariant) {
  const { scores, fours, all, columns, quads } = shareOf(v);
  const { across, span, rows } = v;
  const pitch = pitchOf(v);
  const there = (r: number) => `tile + ty * ${rows}u + ${r}u < params.tokens`;
  return {
    scores,
    columns,
    fours,
    all,
    quads,
    /** vec4s per row of qkv */
    width: (v.heads + 2 * v.kvHeads) * quads,
    keysAt: v.heads * quads,
    valuesAt: (v.heads + v.kvHeads) * quads,
    group: v.heads / v.kvHeads,
    /** WGSL of one past the last key that a row of the tile sees */
    last: v.causal ? "tileEnd" : "spans[tileEnd - 1u].y",
    declare: `
var<workgroup> left: array<vec4f, ${tileRows(v) * PITCH}>;
var<workgroup> right: array<vec4f, ${rightOf(v)}>;
var<workgroup> factors: array<vec4f, ${span * pitch}>; // for each row of the other side and four rows of this side`,
    main: MAIN(v),
    /** `{name}{h}` from the indices of each group of four rows of a thread */
    ofRows: (name: string, type: string, value: (row: string) => string) =>
      lines(fours.map((h) => `let ${name}${h} = ${type}(${range(4).map((r) => value(`rows${h}[${r}]`))});`)),
    dots: (sum: string, own: Rows, other: Rows, first: string, end: string) => dots(v, sum, own, other, [first, end]),
    blend: (sum: string, other: Rows, first: string, end: string) => blend(v, sum, other, [first, end]),
    fold: (name: string, folded: string, operation: (a: string, b: string) => string) =>
      fold(v, name, folded, operation),
    /** stores the processed scores for `blend` */
    put: (name: string) =>
      lines(
        all.map(([n, h]) => {
          const at = `tx * ${pitch}u + ty * ${rows / 4}u + ${n * across * pitch + h}u`;
          return `factors[${at}] = ${name}${n}_${h};`;
        }),
      ),
    sums: (name: string) => lines(range(rows).flatMap((r) => columns.map((j) => `var ${name}${r}_${j} = vec4f();`))),
    /** stores a thread's sums, each passed through `value` */
    store: (buffer: string, at: string, value: (r: number, j: number) => string) =>
      lines(
        range(rows).map((r) => {
          const to = (j: number) => `${buffer}[${at}${r >> 2}[${r & 3}] + tx + ${j * across}u]`;
          const stores = columns.map((j) => `if (tx + ${j * across}u < ${quads}u) { ${to(j)} = ${value(r, j)}; }`);
          return `if (${there(r)}) { ${stores.join(" ")} }`;
        }),
      ),
    /** `text` for each existing row of a thread */
    ifRow: (text: (r: number, h: number, e: number) => string) =>
      lines(range(rows).map((r) => `if (${there(r)}) { ${text(r, r >> 2, r & 3)} }`)),
  };
}
