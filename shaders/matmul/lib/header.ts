import { loadFunctions, NARROW, storedType, WIDEN } from "../../lib/load.ts";
import { randomFunctions } from "../../lib/random.ts";
import { sigmoid } from "../../lib/sigmoid.ts";
import { STRIPS, stripFunctions, TEXELS, texelFunctions } from "../../lib/texels.ts";
import { range } from "./loops.ts";
import type { MatmulVariant } from "./variant.ts";

// Code shared by every form of matmul: parameters, bindings, loads, and the storing of sums.

/** Compile-time parameters of a form beside its tile. */
export type ProductVariant = Omit<MatmulVariant, "tile">;

/** Per-part fields of `Params`, with the part's number as a suffix. `…At`: first element in a buffer. */
export const PART_FIELDS = ["n", "k", "r", "seed", "aAt", "bAt", "cAt", "a2At", "b2At", "biasAt"] as const;

/** Loads of a bf16 b, eight elements each. */
const EIGHT = `
fn bAt1(i: u32) -> f32 {
  let w = b[i / 8u][(i / 2u) & 3u];
  return bitcast<f32>(select(w << 16u, w & 0xffff0000u, (i & 1u) == 1u));
}`;

/** `struct Params`, the bindings, and functions that read them. */
export function productHeader(v: ProductVariant): string {
  const fields = v.pairs === "swiglu" ? 2 : v.parts;
  const bind = (slot: number, name: string, type: string, access = "read") =>
    `@group(0) @binding(${slot}) var<storage, ${access}> ${name}: array<${type}>;`;
  const texels = (slot: number, name: string, type = TEXELS) => `@group(0) @binding(${slot}) var ${name}: ${type};`;
  const lines = [
    `struct Params {
  m: u32, lda: u32, ldb: u32, lda2: u32,
  rowStride: u32, colStride: u32, dropCols: u32, dropRow: u32, bScales: u32,
  alpha: f32, dropout: f32,${v.split ? " splitSteps: u32, splitStride: u32," : ""}
  ${range(fields)
    .map((part) => PART_FIELDS.map((field) => `${field}${part}: u32`).join(", "))
    .join(",\n  ")}
}`,
    v.texels === "ab" ? texels(0, "a") : bind(0, "a", v.packed ? "vec4u" : storedType(v.a, v.vecA)),
    v.texels === "none"
      ? bind(1, "b", v.eightB ? "vec4u" : storedType(v.b, v.vecB))
      : texels(1, "b", v.stripsB ? STRIPS : TEXELS),
    bind(2, "c", v.pairs === "bf16" ? "u32" : v.vecC && !v.transB ? "vec4f" : "f32", "read_write"),
    v.pairs === "bf16" ? NARROW : "",
    v.eightB || v.texels !== "none" ? WIDEN : "",
    v.packed ? "" : v.texels === "ab" ? texelFunctions("a", "f32") : loadFunctions("a", v.a, v.vecA),
    loadsOfB(v),
    "@group(0) @binding(6) var<uniform> params: Params;",
  ];
  if (v.packed) lines.push(bind(3, "scales", "f32"));
  if (v.extra) {
    if (!v.packed) lines.push(bind(3, "a2", storedType("f32", v.vecExtra)), loadFunctions("a2", "f32", v.vecExtra));
    lines.push(bind(4, "b2", storedType("f32", v.vecExtra)), loadFunctions("b2", "f32", v.vecExtra));
  }
  if (v.bias !== "none") lines.push(bind(5, "bias", storedType(v.bias, false)), loadFunctions("bias", v.bias, false));
  if (v.pairs === "rotary") lines.push(bind(7, "positions", "u32"), bind(8, "table", "f32"));
  if (v.dropout !== "none") {
    lines.push(`${randomFunctions}
var<private> seed: u32;
fn keep1(row: u32, col: u32) -> f32 {
  return select(0.0, 1.0 / (1.0 - params.dropout), uniform01(seed, (params.dropRow + row) * params.dropCols + col) >= params.dropout);
}
fn keep4(row: u32, col: u32) -> vec4f { return vec4f(keep1(row, col), keep1(row, col + 1u), keep1(row, col + 2u), keep1(row, col + 3u)); }`);
  }
  return lines.join("\n");
}

function loadsOfB({ b, vecB, eightB, texels, stripsB }: ProductVariant): string {
  if (stripsB) return stripFunctions("b");
  if (texels !== "none") return texelFunctions("b", b === "f32" ? "f32" : "bf16");
  return eightB ? EIGHT : loadFunctions("b", b, vecB, "params.bScales");
}

/** WGSL of a part's own fields, by `part`. */
export function ownOf(v: ProductVariant): (field: (typeof PART_FIELDS)[number]) => string {
  return (field) => {
    const of = (part: number) => `params.${field}${part}`;
    return range(v.parts - 1).reduce(
      (other, last) => {
        const part = v.parts - 2 - last;
        return `select(${other}, ${of(part)}, part == ${part}u)`;
      },
      of(v.parts - 1),
    );
  };
}

/**
 * The beginning of `main`: the current part, its fields, and the first column of its tile. Tiles of all parts follow
 * each other along y, so that no workgroup is idle.
 *
 * @param width columns of a tile
 */
export function ownLets(v: ProductVariant, width: number): string {
  const own = ownOf(v);
  const tiles = (part: number) => `(params.n${part} + ${width - 1}u) / ${width}u`;
  const last = v.parts - 1;
  const lines = [
    ...range(last).map((part) => `let from${part + 1} = ${part === 0 ? "" : `from${part} + `}${tiles(part)};`),
    `let part = ${range(last).reduce((before, p) => `select(${before}, ${p + 1}u, group.y >= from${p + 1})`, "0u")};`,
    `let tileCol = (group.y - ${range(last).reduce((before, p) => `select(${before}, from${p + 1}, part == ${p + 1}u)`, "0u")}) * ${width}u;`,
  ];
  return `${lines.join("\n  ")}
  let n = ${own("n")};
  let k = ${own("k")};
  let aAt = ${own("aAt")};
  let bAt = ${own("bAt")};
  let cAt = ${own("cAt")}${v.split ? " + group.z * params.splitStride" : ""};
  ${v.bias === "none" ? "" : `let biasAt = ${own("biasAt")};`}
  ${v.dropout === "none" ? "" : `seed = ${own("seed")};`}`;
}

/**
 * The end of `main` for one element of a tile: stores `sum` of row `i` at column `tileCol + place`; with pairs, stores
 * `sum` and `second` at two columns.
 *
 * @param place WGSL; with pairs, counts the first columns of the pairs
 */
export function storeSum(v: ProductVariant, place: string, sum: string, second = ""): string {
  const value = (of: string, col: string) =>
    `params.alpha * ${of}${v.bias === "none" ? "" : ` + biasAt1(biasAt + ${col})`}`;
  if (v.pairs === "none") {
    return `let col = tileCol + ${place};
      if (i < params.m && col < n) {
        let at = cAt + i * params.rowStride + col * params.colStride;
        c[at] = ${v.accumulate ? "c[at] + " : ""}${value(sum, "col")};
      }`;
  }
  if (v.pairs === "swiglu") {
    return `let u = tileCol / 2u + ${place};
      if (i < params.m && u < n / 2u) {
        let g = ${value(sum, "u")};
        c[cAt + i * params.rowStride + u] = g * ${sigmoid("f32")} * (${value(second, "n / 2u + u")});
      }`;
  }
  if (v.pairs === "bf16") {
    return `let u = tileCol / 2u + ${place};
      if (i < params.m && u < n / 2u) {
        c[(cAt + i * params.rowStride) / 2u + u] = narrow(${value(sum, "2u * u")}, ${value(second, "2u * u + 1u")});
      }`;
  }
  return `let u = tileCol / 2u + ${place};
      if (i < params.m && u < n / 2u) {
        let col = u + u / ${v.half}u * ${v.half}u;
        let x = ${value(sum, "col")};
        let y = ${value(second, `col + ${v.half}u`)};
        var cosine = 1.0;
        var sine = 0.0;
        if (part < 2u) {
          let angle = positions[i] * ${2 * v.half}u + u % ${v.half}u;
          cosine = table[angle];
          sine = table[angle + ${v.half}u];
        }
        let at = cAt + i * params.rowStride + col;
        c[at] = x * cosine - y * sine;
        c[at + ${v.half}u] = y * cosine + x * sine;
      }`;
}

/** Whether a form reads f16. */
export const readsF16 = (v: ProductVariant) => v.a === "f16" || v.b === "f16" || v.bias === "f16";
