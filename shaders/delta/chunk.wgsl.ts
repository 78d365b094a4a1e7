import { addRows, CHUNK, chunkSums, columnsOf, type DeltaVariant, lines, places, ROWS, range, SOLVED } from "./rule.ts";

const THREADS = 256;
/** Vec4s of a block of 16 × 16. */
const BLOCK = 64;
/** Blocks of the lower triangle of 4 × 4. */
const BLOCKS = 10;
/** Vec4s from one column of a block to the next: all 16 rows, and one that keeps columns in different banks of workgroup memory. */
const COLUMN = 17;

/** Compile-time parameters of a variant. */
interface DeltaChunkVariant extends DeltaVariant {
  /** sums within a block are loops, for CPU adapters: llvmpipe compiles this kernel in 5.7 s of processor time instead of 11.9 */
  rolled?: boolean;
}

/** WGSL that adds a thread's vec4 of the product of blocks `left` and `right` to `made`; indices within a block are seen to be in range. */
const PRODUCT = range(4)
  .map(
    (m) =>
      `let f${m} = blocks[left][${m}][row]; ${range(4)
        .map((n) => `made += f${m}[${n}] * blocks[right][quad][${4 * m + n}];`)
        .join(" ")}`,
  )
  .join(" ");

/** The same in loops; `none` is 0, which no compiler can know. */
const ROLLED_PRODUCT = `for (var m = none; m < 4u; m++) {
        let f = blocks[left][m][row];
        for (var n = none; n < 4u; n++) { made += f[n] * blocks[right][quad][4u * m + n]; }
      }`;

/** WGSL of `x (I + A) = e_r` for row r of a diagonal block, whose A is 0 from the diagonal on. */
const SUBSTITUTION = lines(
  range(15).map((n) => {
    const k = 15 - n;
    const quads = range(Math.floor(k / 4) + 1);
    return `{ let f = x${Math.floor(k / 4)}[${k % 4}]; ${quads.map((q) => `x${q} -= f * blocks[diagonal][${q}][${k}];`).join(" ")} }`;
  }),
);

/** The same in a loop. */
const ROLLED_SUBSTITUTION = `for (var k = 15u; k > none; k--) {
      let held = select(select(x0, x1, k >= 4u), select(x2, x3, k >= 12u), k >= 8u);
      let f = held[k % 4u];
      ${range(4)
        .map((q) => `x${q} -= f * blocks[diagonal][${q}][k];`)
        .join(" ")}
    }`;

/** WGSL that turns the lower triangle of A in `blocks` into that of T. */
const inverse = (rolled: boolean) => `${rolled ? "let none = params.heads >> 31u;" : ""}
  // the diagonal: x (I + A) = e_r, from the last column on
  let own = thread / 16u % 4u;
  let diagonal = blockAt(own, own);
  let r = thread % 16u;
  ${lines(
    range(4).map(
      (q) =>
        `var x${q} = select(vec4f(), vec4f(1.0), vec4u(${range(4)
          .map((s) => `${4 * q + s}u`)
          .join(", ")}) == vec4u(r));`,
    ),
  )}
  if (thread < 64u) {
    ${rolled ? ROLLED_SUBSTITUTION : SUBSTITUTION}
  }
  workgroupBarrier();
  if (thread < 64u) { ${range(4)
    .map((q) => `blocks[diagonal][${q}][r] = x${q};`)
    .join(" ")} }
  workgroupBarrier();

  // below the diagonal: N = T_ii A_ij, then T_ij = -(sum over k of N_ik T_kj), all blocks of a row at a time
  var made = vec4f();
  var more = vec4f();
  let row = thread % 64u / 4u;
  let quad = thread % 4u;
  for (var half = 0u; half < 2u; half++) {
    let block = thread / 64u + 4u * half;
    if (block < 6u) {
      let i = select(select(3u, 2u, block < 3u), 1u, block < 1u);
      made = vec4f();
      let left = blockAt(i, i);
      let right = blockAt(i, block - i * (i - 1u) / 2u);
      ${rolled ? ROLLED_PRODUCT : PRODUCT}
    }
    if (half == 0u) { more = made; }
  }
  workgroupBarrier();
  for (var half = 0u; half < 2u; half++) {
    let block = thread / 64u + 4u * half;
    if (block < 6u) {
      let i = select(select(3u, 2u, block < 3u), 1u, block < 1u);
      blocks[blockAt(i, block - i * (i - 1u) / 2u)][quad][row] = select(made, more, half == 0u);
    }
  }
  workgroupBarrier();
  let j = thread / 64u;
  for (var i = 1u; i < 4u; i++) {
    made = vec4f();
    var left = blockAt(i, j); // of row i and column k, and of row k and column j
    var right = blockAt(j, j);
    for (var k = j; k < i; k++) {
      ${rolled ? ROLLED_PRODUCT : PRODUCT}
      left++;
      right += k + 1u;
    }
    workgroupBarrier();
    if (j < i) { blocks[blockAt(i, j)][quad][row] = -made; }
    workgroupBarrier();
  }`;

// delta_chunk: T, P and the decays of a chunk; see rule.ts
//
// Grid     x: chunks; y: value heads from `first` on
// Shapes   u [tokens, width]: query, key and value heads, the first two normed   gates [tokens, valueHeads, 2]: g, beta
//          table [chunks + sequences, 4]   solve [chunks, heads, SOLVED] vec4s   quads: keyDim / 4, so that no compiler unrolls
// Writes   solve by assignment: of T and P what lies in blocks of 16 on and below the diagonal
// Numbers  T by blocks of 16: the diagonal ones by substitution, a row a thread; then block row by block row
export const deltaChunk = (v: DeltaChunkVariant) => {
  const p = places(v);
  return `
struct Params { first: u32, heads: u32, quads: u32 }

@group(0) @binding(0) var<storage, read> u: array<vec4f>;
@group(0) @binding(1) var<storage, read> gates: array<vec2f>;
@group(0) @binding(2) var<storage, read> table: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> solve: array<vec4f>;
@group(0) @binding(4) var<uniform> params: Params;

// the lower triangle of A, then of T: rows last, so that a sum over rows reads at constant distances from one address
var<workgroup> blocks: array<array<array<vec4f, ${COLUMN}>, 4>, ${BLOCKS}>;
${chunkSums(v.valueHeads)}
fn blockAt(row: u32, column: u32) -> u32 { return row * (row + 1u) / 2u + column; }

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let head = params.first + group.y;
  let token = table[group.x].x;
  let count = table[group.x].y;
  let to = (group.x * params.heads + group.y) * ${SOLVED}u;
  loadGates(token, count, head, thread);

  let ty = thread / 16u;
  let tx = thread % 16u;
  ${lines(ROWS.map((r) => `var a${r} = vec4f(); var p${r} = vec4f();`))}
  if (tx <= ty) {
    let base = token * ${p.width}u + head / ${p.perKey}u * ${p.dk}u;
    ${lines(
      ROWS.flatMap((r) => [
        `let row${r} = base + min(4u * ty + ${r}u, count - 1u) * ${p.width}u;`,
        `let key${r} = base + min(4u * tx + ${r}u, count - 1u) * ${p.width}u + ${p.keysAt}u;`,
      ]),
    )}
    for (var d = 0u; d < params.quads; d++) {
      ${lines(ROWS.map((r) => `let y${r} = u[key${r} + d];`))}
      ${columnsOf("c", "y")}
      ${lines(
        ROWS.flatMap((r) => [
          `let x${r} = u[row${r} + ${p.keysAt}u + d]; let q${r} = u[row${r} + d];`,
          addRows(`a${r}`, `x${r}`, "c"),
          addRows(`p${r}`, `q${r}`, "c"),
        ]),
      )}
    }
    let columns = vec4u(4u * tx) + vec4u(0u, 1u, 2u, 3u);
    ${lines(
      ROWS.flatMap((r) => [
        `let i${r} = 4u * ty + ${r}u; let f${r} = decays(i${r}, tx);`,
        `a${r} = select(vec4f(), betas[i${r}] * f${r} * a${r}, columns < vec4u(i${r}));`,
        `solve[to + ${CHUNK * 16}u + i${r} * 16u + tx] = select(vec4f(), f${r} * p${r}, columns <= vec4u(i${r}));`,
      ]),
    )}
  }
  if (tx / 4u <= ty / 4u) {
    let at = blockAt(ty / 4u, tx / 4u);
    ${lines(ROWS.map((r) => `blocks[at][tx % 4u][(4u * ty + ${r}u) % 16u] = a${r};`))}
  }
  workgroupBarrier();

  ${inverse(v.rolled ?? false)}
  for (var e = thread; e < ${BLOCKS * BLOCK}u; e += ${THREADS}u) {
    let block = e / ${BLOCK}u;
    let i = select(select(select(3u, 2u, block < 6u), 1u, block < 3u), 0u, block < 1u);
    let j = block - i * (i + 1u) / 2u;
    solve[to + (16u * i + e % ${BLOCK}u / 4u) * 16u + 4u * j + e % 4u] = blocks[block][e % 4u][e % ${BLOCK}u / 4u];
  }
  if (thread < ${CHUNK}u) {
    let falls = sums[thread].x + sums[thread].y;
    var factors = vec4f();
    if (thread < count) { factors = vec4f(exp(falls), decay(count - 1u, thread), betas[thread], 0.0); }
    solve[to + ${2 * CHUNK * 16}u + thread] = factors;
  }
}
`;
};
