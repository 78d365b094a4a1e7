/** Compile-time parameters of a variant. */
interface AttentionGatherVariant {
  headDim: number;
  heads: number;
  kvHeads: number;
  /** elements of a head of dq and dk that are turned back by their positions: the transpose of the rotation that q and k went through */
  turned: number;
  /** four pairs a thread; turned and the rest of headDim are then multiples of 8 */
  vector: boolean;
  workgroup: number;
}

// attention_gather: dqkv from parts: dk and dv summed over the query heads that share a key head; dq and dk rotated backwards
//
// Grid     threads along x for pairs of elements of a row's heads, rows along y and, beyond 65 535, z: (i, i + R/2) of the first R,
//          which turn, and as many apart of the rest
// Shapes   parts [tokens, 3, heads, D]   dqkv [tokens, (heads + 2 kvHeads) * D]   positions [tokens]   table [P, R]: R/2 cos,
//          then R/2 sin
// Writes   dqkv by assignment
export const attentionGather = ({ headDim, heads, kvHeads, turned, vector, workgroup }: AttentionGatherVariant) => {
  const type = vector ? "vec4f" : "f32";
  const lanes = vector ? 4 : 1;
  const [half, turning] = [headDim / 2 / lanes, turned / 2 / lanes];
  const rotary = turned > 0;
  const perKv = heads / kvHeads;
  return `struct Params { rows: u32 }

@group(0) @binding(0) var<storage, read> parts: array<${type}>;
@group(0) @binding(1) var<storage, read_write> dqkv: array<${type}>;
${
  rotary
    ? `@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read> table: array<${type}>;`
    : ""
}
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.z * grid.y + group.y;
  let at = group.x * ${workgroup}u + thread;
  let head = at / ${half}u;
  let pair = at % ${half}u;
  let turns = pair < ${turning}u;
  let apart = select(${half - turning}u, ${turning}u, turns);
  let element = select(pair + ${turning}u, pair, turns);
  if (row >= params.rows || head >= ${heads + 2 * kvHeads}u) { return; }
  let turn = (max(head, ${heads - kvHeads}u) - ${heads - kvHeads}u) / ${kvHeads}u; // 0: dq, 1: dk, 2: dv
  let kvHead = (head - ${heads}u) % ${kvHeads}u;
  let first = select(kvHead * ${perKv}u, head, turn == 0u);
  let count = select(${perKv}u, 1u, turn == 0u);
  var a = ${type}();
  var b = ${type}();
  for (var h = first; h < first + count; h++) {
    let part = ((row * 3u + turn) * ${heads}u + h) * ${2 * half}u + element;
    a += parts[part];
    b += parts[part + apart];
  }
  let to = (row * ${heads + 2 * kvHeads}u + head) * ${2 * half}u + element;
  ${
    rotary
      ? `if (turn < 2u && turns) {
    let angle = positions[row] * ${2 * turning}u + pair;
    let cosine = table[angle];
    let sine = table[angle + ${turning}u];
    let upper = a;
    a = upper * cosine + b * sine;
    b = b * cosine - upper * sine;
  }`
      : ""
  }
  dqkv[to] = a;
  dqkv[to + apart] = b;
}
`;
};
