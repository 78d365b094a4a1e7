import { wgsl } from "wgsl-preprocessor/wgsl-preprocessor.js";
import { NF4 } from "../lib/load.ts";

/** Codes of a thread: half of a block with one scale. */
export const WIDEN_CODES = 32;

/** Compile-time parameters of a variant. */
interface WidenVariant {
  /** how the codes are stored */
  codes: "int8" | "nf4";
  workgroup: number;
}

/** WGSL of the code's value: a tree of selections by its bits, which CPU adapters compute for all lanes at once. */
function nf4Value(code: string): string {
  const pick = (first: number, bit: number): string =>
    bit < 0
      ? `${NF4[first]}f`
      : `select(${pick(first, bit - 1)}, ${pick(first + (1 << bit), bit - 1)}, (${code} & ${1 << bit}u) != 0u)`;
  return pick(0, 3);
}

const LOADS = {
  int8: `
fn four(word: u32) -> vec4f { return vec4f((vec4i(bitcast<i32>(word)) << vec4u(24u, 16u, 8u, 0u)) >> vec4u(24u)); }`,
  // the first of two codes is in the high half of a byte
  nf4: `
fn value(code: u32) -> f32 { return ${nf4Value("code")}; }
fn four(word: u32) -> vec4f { return vec4f(value(word >> 4u), value(word), value(word >> 12u), value(word >> 8u)); }`,
};

// widen: wide[at + i] = code[first + i] * scale of its block
//
// Grid     a thread for 32 codes; beyond 65,535 workgroups along y
// Shapes   codes: count of them in whole words, then f32 scales, one for 64; `scales` is the same buffer
//          wide f32; groups, first, at count 32 elements
// Writes   wide by assignment
// Numbers  one rounding, as in bitsandbytes
export const widen = ({ codes, workgroup }: WidenVariant) => {
  const words = codes === "int8" ? 8 : 4; // of a thread
  const fours = Array.from({ length: WIDEN_CODES / 4 }, (_, i) => {
    const word = codes === "int8" ? `w${i >> 2}[${i & 3}]` : `w0[${i >> 1}]${i & 1 ? " >> 16u" : ""}`;
    return `wide[t + ${i}u] = four(${word}) * scale;`;
  });
  return wgsl`
struct Params { groups: u32, first: u32, at: u32, scalesAt: u32 }

@group(0) @binding(0) var<storage, read> codes: array<vec4u>;
@group(0) @binding(1) var<storage, read> scales: array<f32>;
@group(0) @binding(2) var<storage, read_write> wide: array<vec4f>;
@group(0) @binding(3) var<uniform> params: Params;
${LOADS[codes]}

@compute @workgroup_size(${workgroup})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) thread: u32) {
  let i = (group.x + group.y * grid.x) * ${workgroup}u + thread;
  if (i >= params.groups) {
    return;
  }
  let at = params.first + i;
  ${Array.from({ length: words / 4 }, (_, w) => `let w${w} = codes[at * ${words / 4}u + ${w}u];`).join("\n  ")}
  let scale = scales[params.scalesAt + at / 2u];
  let t = (params.at + i) * ${WIDEN_CODES / 4}u;
  ${fours.join("\n  ")}
}
`;
};
