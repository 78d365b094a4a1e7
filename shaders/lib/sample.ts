import { SUBGROUP_NUMBER, type Subgroups, subgroupSize } from "./reduce.ts";

/** Score of entries past a tile's last token, and of tokens with probability 0. */
export const NOTHING = "-3.4e38";

/** Applies the repetition penalty to the score of a seen token. */
export const penaltyFunctions = `
fn penalised(z: f32) -> f32 { return select(z / params.penalty, z * params.penalty, z < 0.0); }
fn unpenalised(z: f32) -> f32 { return select(z * params.penalty, z / params.penalty, z < 0.0); }
fn wasSeen(row: u32, token: u32) -> bool {
  return ((seen[row * params.words + token / 32u] >> (token & 31u)) & 1u) == 1u;
}`;

/** The order of numbers as the order of their bit patterns, both ways. */
export const keyFunctions = `
fn keyOf(z: f32) -> u32 {
  let bits = bitcast<u32>(z);
  return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}
fn numberOf(key: u32) -> f32 { return bitcast<f32>(select(~key, key & 0x7fffffffu, (key >> 31u) == 1u)); }`;

/** `log` that returns NaN for NaN on every adapter. */
export const logFunction = `
fn logarithm(x: f32) -> f32 {
  if ((bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u) { return x; }
  return log(x);
}`;

/**
 * WGSL `name(value, thread[, lane, lanes])`: `value` summed or maximised over the workgroup, the same for every thread
 * (uniform in WGSL's sense), in an order that depends only on the subgroup size.
 *
 * @param types f32 or vectors of f32; several form a struct `Name { a, b … }`, with one pair of barriers
 * @param workgroup threads, 8 or more
 */
export function fold(
  name: string,
  operation: "add" | "max",
  types: readonly string[],
  subgroups: Subgroups,
  workgroup: number,
): string {
  const fields = types.map((_, i) => "abcd"[i]);
  const struct = name[0].toUpperCase() + name.slice(1);
  const type = types.length > 1 ? struct : types[0];
  /** applies `f` to each field of the value */
  const each = (f: (of: (value: string) => string) => string) =>
    types.length > 1 ? `${type}(${fields.map((x) => f((value) => `${value}.${x}`)).join(", ")})` : f((value) => value);
  const both = (a: string, b: string) =>
    each((of) => (operation === "add" ? `${of(a)} + ${of(b)}` : `max(${of(a)}, ${of(b)})`));
  const declare = `
${types.length > 1 ? `struct ${struct} { ${types.map((t, i) => `${fields[i]}: ${t}`).join(", ")} }` : ""}
var<workgroup> ${name}Parts: array<${type}, ${workgroup}>;
var<workgroup> ${name}All: ${type};`;
  return subgroups
    ? `${declare}
fn ${name}(value: ${type}, thread: u32, lane: u32, lanes: u32) -> ${type} {
  let own = ${each((of) => `${operation === "add" ? "subgroupAdd" : "subgroupMax"}(${of("value")})`)};
  if (lane == 0u) { ${name}Parts[subgroupNumber] = own; }
  workgroupBarrier();
  if (thread == 0u) {
    var all = own;
    for (var s = 1u; s * lanes < ${workgroup}u; s++) { all = ${both("all", `${name}Parts[s]`)}; }
    ${name}All = all;
  }
  return workgroupUniformLoad(&${name}All);
}`
    : `${declare}
fn ${name}(value: ${type}, thread: u32) -> ${type} {
  ${name}Parts[thread] = value;
  workgroupBarrier();
  // in two steps: on CPU adapters, a tree's barriers cost more than the sums, and compile slowly
  if (thread < 8u) {
    var some = value;
    for (var i = thread + 8u; i < ${workgroup}u; i += 8u) { some = ${both("some", `${name}Parts[i]`)}; }
    ${name}Parts[thread] = some;
  }
  workgroupBarrier();
  if (thread == 0u) {
    var all = ${name}Parts[0];
    for (var i = 1u; i < 8u; i++) { all = ${both("all", `${name}Parts[i]`)}; }
    ${name}All = all;
  }
  return workgroupUniformLoad(&${name}All);
}`;
}

export const subgroupHeader = (subgroups: Subgroups) =>
  subgroups ? `enable subgroups;\ndiagnostic(off, subgroup_uniformity);\n${SUBGROUP_NUMBER}` : "";
export const subgroupInputs = (subgroups: Subgroups) =>
  subgroups ? `@builtin(subgroup_invocation_id) lane: u32,\n  ${subgroupSize(subgroups)}` : "";

/** Parameters and arguments that pass a subgroup's values on to a function. */
export const subgroupArguments = (subgroups: Subgroups) =>
  subgroups ? { inputs: ", lane: u32, lanes: u32", lanes: ", lane, lanes" } : { inputs: "", lanes: "" };
