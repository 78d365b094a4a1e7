import { type DeltaVariant, lines, places, ROWS, range } from "./rule.ts";

/** Vec4s of the columns that a workgroup has. */
const SLICE = 4;
const THREADS = 16 * SLICE;

// delta_step: one token a row through its slot's state: S <- e^g S; d = beta (v - S^T k); S <- S + k d^T; o = S^T q
//
// Grid     x: rows; y: value heads; z: slices of 16 columns. A thread holds every 16th four rows of the state
// Shapes   u [rows, width]: query, key and value heads, the first two normed   gates [rows, valueHeads, 2]: g, beta
//          slots, positions [rows]   states [slots, valueHeads, keyDim, valueDim]   o [rows, valueHeads, valueDim]
// Writes   o by assignment, states in place; at position 0 what lies there is not read
// Hazard   no two rows name the same slot
// Numbers  a row's bits do not depend on the others
export const deltaStep = (v: DeltaVariant) => {
  const p = places(v);
  const own = range(Math.ceil(p.dk / 16));
  const guarded = (n: number, body: string) => `if (ty + ${16 * n}u < ${p.dk}u) { ${body} }`;
  return `
@group(0) @binding(0) var<storage, read> u: array<vec4f>;
@group(0) @binding(1) var<storage, read> gates: array<vec2f>;
@group(0) @binding(2) var<storage, read> slots: array<u32>;
@group(0) @binding(3) var<storage, read> positions: array<u32>;
@group(0) @binding(4) var<storage, read_write> states: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> o: array<vec4f>;

var<workgroup> partial: array<vec4f, ${THREADS}>;
/** over the threads of a column */
fn columnSum(value: vec4f, thread: u32) -> vec4f {
  partial[thread] = value;
  workgroupBarrier();
  var total = vec4f();
  for (var t = 0u; t < 16u; t++) { total += partial[t * ${SLICE}u + thread % ${SLICE}u]; }
  workgroupBarrier();
  return total;
}

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let row = group.x;
  let head = group.y;
  let ty = thread / ${SLICE}u;
  let column = group.z * ${SLICE}u + thread % ${SLICE}u;
  let live = column < ${p.dv}u;
  let at = (slots[row] * ${v.valueHeads}u + head) * ${v.keyDim * p.dv}u + column;
  let queries = row * ${p.width}u + head / ${p.perKey}u * ${p.dk}u;
  let keys = queries + ${p.keysAt}u;
  let gate = gates[row * ${v.valueHeads}u + head];
  ${lines(own.flatMap((n) => ROWS.map((s) => `var s${n}_${s} = vec4f();`)))}
  if (live && positions[row] > 0u) {
    let fall = exp(gate.x);
    ${lines(own.map((n) => guarded(n, ROWS.map((s) => `s${n}_${s} = fall * states[at + (4u * (ty + ${16 * n}u) + ${s}u) * ${p.dv}u];`).join(" "))))}
  }
  var known = vec4f();
  ${lines(own.map((n) => guarded(n, `let k = u[keys + ty + ${16 * n}u]; known += ${ROWS.map((s) => `k[${s}] * s${n}_${s}`).join(" + ")};`)))}
  var value = vec4f();
  if (live) { value = u[row * ${p.width}u + ${p.valuesAt}u + head * ${p.dv}u + column]; }
  let delta = gate.y * (value - columnSum(known, thread));
  var read = vec4f();
  ${lines(
    own.map((n) =>
      guarded(
        n,
        `let k = u[keys + ty + ${16 * n}u]; let q = u[queries + ty + ${16 * n}u]; ${ROWS.map((s) => `s${n}_${s} += k[${s}] * delta; read += q[${s}] * s${n}_${s};`).join(" ")}
      if (live) { ${ROWS.map((s) => `states[at + (4u * (ty + ${16 * n}u) + ${s}u) * ${p.dv}u] = s${n}_${s};`).join(" ")} }`,
      ),
    ),
  )}
  let total = columnSum(read, thread);
  if (live && ty == 0u) { o[(row * ${v.valueHeads}u + head) * ${p.dv}u + column] = total; }
}
`;
};

/** Compile-time parameters of a variant. */
interface DeltaFillVariant {
  workgroup: number;
}

// delta_fill: the states at the ends of sequences into slots
//
// Grid     threads along x for the vec4s of a state; y: the entries of ends
// Shapes   states [sequences, size]   ends [n, 3]: a sequence, its last row, a slot   into [slots, size]; size in vec4s
// Writes   into by assignment; no two entries name the same slot
export const deltaFill = ({ workgroup }: DeltaFillVariant) => `
struct Params { size: u32 }

@group(0) @binding(0) var<storage, read> states: array<vec4f>;
@group(0) @binding(1) var<storage, read> ends: array<u32>;
@group(0) @binding(2) var<storage, read_write> into: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(${workgroup})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let e = group.x * ${workgroup}u + thread;
  if (e >= params.size) { return; }
  into[ends[3u * group.y + 2u] * params.size + e] = states[ends[3u * group.y] * params.size + e];
}
`;
