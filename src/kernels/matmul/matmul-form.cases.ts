import type { StoredMatrix } from "../../../shaders/lib/load.ts";
import type { MatmulTile, SubgroupMatrix } from "../../../shaders/matmul/lib/variant.ts";
import type { RowsTile } from "../../../shaders/matmul/matmul-rows.wgsl.ts";
import type { Gpu } from "../../gpu/device.ts";
import type { CaseRun, KernelCase } from "../check.ts";
import { matrixTiles, STAGE } from "./gpu-tiles.ts";
import { matmul, matmulReference } from "./matmul.ts";
import { recordProduct } from "./product.ts";
import { recordSplit } from "./split-sums.ts";
import { direct } from "./tile-shapes.ts";

// The forms of matmul that an adapter may not choose for the shapes of other cases, on any adapter.

export interface FormCase {
  name: string;
  tile(gpu: Gpu): MatmulTile | RowsTile;
  tolerance: number;
  needs?: "f16";
}

const F32_TOLERANCE = 4e-6;
/** f16 rounds operands to 11 bits, and each group of four products. Worst measured error: 5e-4 of the largest sum. */
const F16_TOLERANCE = 1e-3;

/** Few rows: lanes are summed through workgroup memory, and by the subgroup on adapters with one subgroup size. */
export const rowsForm = (rows: number, cols: number, subgroup: boolean): FormCase => ({
  name: `${rows}×${cols} ${subgroup ? "by subgroup" : "by workgroup memory"}`,
  tile: ({ profile }) => {
    const size = profile.subgroup?.size ?? 0;
    return subgroup && size > 0
      ? { kind: "rows", rows, cols, lanes: size, groups: Math.max(1, 64 / size), subgroup }
      : { kind: "rows", rows, cols, lanes: 32, groups: 4, subgroup: false };
  },
  tolerance: F32_TOLERANCE,
});

/** On a CPU adapter half the steps at once take half the time to compile. */
const stagedTile = ({ profile }: Gpu, rows: number, cols: number): MatmulTile => {
  const size = profile.kind === "cpu" ? { lanes: 8, groups: 4, stage: 8 } : { lanes: 8, groups: 8, stage: 16 };
  return { rows, cols, ...size, broadcast: 0, steps: 4 };
};

/** Columns of a thread one half after the other: 16 × 8 of a subgroup that shares loads, else 4 × 8 of threads that load for themselves. */
const halvesForm: FormCase = {
  name: "columns by halves",
  tile: ({ profile }) =>
    profile.tiles === "broadcast"
      ? { ...direct(16, 8, 8, 4, profile.subgroup!.size!, 2), colsAtOnce: 4 }
      : { ...direct(4, 8, 8, 4, 0, 2), colsAtOnce: 4 },
  tolerance: F32_TOLERANCE,
};

/** Both operands staged; products in f32, or in f16 with groups of four summed in f32. */
export const stagedForm = (rows: number, cols: number, compute?: "f16"): FormCase => ({
  name: `${rows}×${cols} staged${compute ? " f16" : ""}`,
  tile: (gpu) => ({ ...stagedTile(gpu, rows, cols), ...(compute && { compute }) }),
  tolerance: compute ? F16_TOLERANCE : F32_TOLERANCE,
  needs: compute,
});

/** Subgroup matrices: the device's, else this configuration with emulated operations. */
export const matrixForm = (type: "f16" | "f32", m: number, n: number, k: number): FormCase => ({
  name: `matrices ${type} ${m}×${n}×${k}`,
  tile: (gpu) => {
    const own = matrixTiles(gpu, true).find(({ matrix }) => matrix?.type === type);
    if (own) return own;
    const size = m * n; // one element per thread: more compile slowly
    const matrix: SubgroupMatrix = { type, m, n, k, size, multiple: size, emulate: true };
    const [lanes, groups] = [size < 256 ? 2 : 1, size < 128 ? 2 : 1];
    // half a GPU's steps at once: half the code
    return { rows: groups * m, cols: 2 * n, lanes, groups, stage: STAGE / 2, broadcast: 0, steps: 4, matrix };
  },
  tolerance: type === "f16" ? F16_TOLERANCE : F32_TOLERANCE,
  needs: type === "f16" ? "f16" : undefined,
});

/** `0.5·(a·b + a2·b2) + bias`, added to the existing values. */
function plain(form: FormCase, kind: "nt" | "nn" | "tn", shape: readonly number[], dtype: StoredMatrix): KernelCase {
  const [m, n, k, r] = shape;
  const [transA, transB] = [kind[0] === "t", kind[1] === "t"];
  return {
    kernel: "matmulForm",
    name: `${form.name}, ${kind} [${m},${n},${k}] ${dtype}${r ? ` r ${r}` : ""}`,
    tolerance: form.tolerance,
    needs: form.needs ?? (dtype === "f16" ? "f16" : undefined),
    run(check) {
      const tile = form.tile(check.gpu);
      const a = check.input(transA ? [k, m] : [m, k], "a");
      const b = check.input(transB ? [n, k] : [k, n], "b", 1, dtype);
      const product = matmulReference(a.values, b.values, [m, n, k], { transA, transB });
      if (!r) {
        check.compare("c", matmul(check.record, a.tensor, b.tensor, { transA, transB, tile }), product);
        return;
      }
      const bias = check.input([n], "bias");
      const into = check.input([m, n], "into");
      const [a2, b2] = [check.input([m, r], "a2"), check.input(transB ? [n, r] : [r, n], "b2")];
      const low = matmulReference(a2.values, b2.values, [m, n, r], { transB });
      const extra = { a2: a2.tensor, b2: b2.tensor };
      const options = {
        transA,
        transB,
        alpha: 0.5,
        bias: bias.tensor,
        into: into.tensor,
        accumulate: true,
        extra,
        tile,
      };
      matmul(check.record, a.tensor, b.tensor, options);
      const want = product.map((v, i) => into.values[i] + 0.5 * (v + low[i]) + bias.values[i % n]);
      check.compare("c", into.tensor, want);
    },
  };
}

/** Rows of `a` times rows `first` to `first + n` of `b`, with a low-rank part of its own. */
function partOf(x: Float64Array, w: Float64Array, [m, n, k]: readonly number[], first: number) {
  return matmulReference(x, w.subarray(first * k, (first + n) * k), [m, n, k], { transB: true });
}

/** Columns of rows of `width`. */
const columnsOf = (values: Float64Array, m: number, width: number, first: number, count: number) =>
  Float64Array.from({ length: m * count }, (_, i) => values[Math.floor(i / count) * width + first + (i % count)]);

/** @param r of each of up to three low-rank parts */
function inputs(check: CaseRun, m: number, k: number, n: number, r: number) {
  const x = check.input([m, k], "x");
  const w = check.input([n, k], "w", 1, "bf16");
  const bias = check.input([n], "bias");
  const [a2, b2] = [check.input([m, 3 * r], "a2"), check.input([n, r], "b2")];
  /** columns first … first + count, with low-rank product `part` */
  const sums = (part: number, first: number, count: number) => {
    const low = columnsOf(a2.values, m, 3 * r, part * r, r);
    const more = partOf(low, b2.values, [m, count, r], first);
    return partOf(x.values, w.values, [m, count, k], first).map(
      (v, i) => v + more[i] + bias.values[first + (i % count)],
    );
  };
  const product = {
    a: x.tensor,
    b: w.tensor,
    transA: false,
    transB: true,
    lda: k,
    ldb: k,
    colStride: 1,
    low: { a2: a2.tensor, b2: b2.tensor, lda2: 3 * r },
    bias: bias.tensor,
  };
  return { product, sums };
}

/** gate and up in one product, silu(gate)·up stored. */
function swiglu(form: FormCase, m: number, inner: number, k: number, r = 8): KernelCase {
  return {
    kernel: "matmulForm",
    name: `${form.name}, swiglu [${m},${inner},${k}]${r === 8 ? "" : `, rank ${r}`}`,
    tolerance: 2 * form.tolerance,
    needs: form.needs,
    run(check) {
      const { product, sums } = inputs(check, m, k, 2 * inner, r);
      const c = check.record.empty([m, inner], "f32", "c");
      const low = range2((h) => ({ r, a2At: h * r, b2At: h * inner * r }));
      const parts = [{ m, n: 2 * inner, k }];
      recordProduct(check.record, {
        ...product,
        c,
        rowStride: inner,
        parts,
        epilogue: { kind: "swiglu", low },
        tile: form.tile(check.gpu),
      });
      const [gate, up] = [sums(0, 0, inner), sums(1, inner, inner)];
      check.compare(
        "c",
        c,
        gate.map((g, i) => (g / (1 + Math.exp(-g))) * up[i]),
      );
    },
  };
}

const range2 = <T>(of: (h: number) => T): readonly [T, T] => [of(0), of(1)];

/** query, key and value heads in one product, the first two rotated. */
function rotary(form: FormCase, m: number, headDim: number, k: number, r = 8): KernelCase {
  return {
    kernel: "matmulForm",
    name: `${form.name}, rotary [${m},${4 * headDim},${k}]${r === 8 ? "" : `, rank ${r}`}`,
    tolerance: 2 * form.tolerance,
    needs: form.needs,
    run(check) {
      const [n, half] = [4 * headDim, headDim / 2];
      const { product, sums } = inputs(check, m, k, n, r);
      const c = check.record.empty([m, n], "f32", "c");
      const places = Array.from({ length: m }, (_, i) => (3 * i) % 7);
      const table = check.input([7, headDim], "table");
      const of = [
        { first: 0, count: 2 * headDim },
        { first: 2 * headDim, count: headDim },
        { first: 3 * headDim, count: headDim },
      ];
      const parts = of.map(({ first, count }, i) => {
        const at = { bAt: first * k, cAt: first, a2At: i * r, b2At: first * r, biasAt: first };
        return { m, n: count, k, r, ...at };
      });
      const positions = check.integers(places, "positions");
      recordProduct(check.record, {
        ...product,
        c,
        rowStride: n,
        parts,
        epilogue: { kind: "rotary", positions, table: table.tensor, headDim },
        tile: form.tile(check.gpu),
      });
      const want = new Float64Array(m * n);
      of.forEach(({ first, count }, part) => {
        const values = sums(part, first, count);
        values.forEach((value, at) => {
          const [row, col] = [Math.floor(at / count), at % count];
          const second = col % headDim >= half;
          const other = values[second ? at - half : at + half];
          const angle = places[row] * headDim + (col % half);
          const [cosine, sine] = part < 2 ? [table.values[angle], table.values[angle + half]] : [1, 0];
          want[row * n + first + col] = value * cosine + (second ? other : -other) * sine;
        });
      });
      check.compare("c", c, want);
    },
  };
}

/** A long sum in parts, which are added up. */
function split([m, n, k]: readonly [number, number, number], steps: number): KernelCase {
  return {
    kernel: "matmulForm",
    name: `split into parts of ${steps}, tn [${m},${n},${k}]`,
    tolerance: F32_TOLERANCE,
    run(check) {
      const [a, b, into] = [check.input([k, m], "a"), check.input([k, n], "b"), check.input([m, n], "into")];
      const want = matmulReference(a.values, b.values, [m, n, k], { transA: true });
      recordSplit(
        check.record,
        {
          a: a.tensor,
          b: b.tensor,
          c: into.tensor,
          transA: true,
          transB: false,
          lda: m,
          ldb: n,
          rowStride: n,
          colStride: 1,
          parts: [{ m, n, k }],
          alpha: 0.5,
          accumulate: true,
          tile: check.gpu.profile.kind === "cpu" ? stagedTile(check.gpu, 4, 4) : undefined,
        },
        { steps, count: Math.ceil(k / steps) },
        recordProduct,
      );
      check.compare(
        "c",
        into.tensor,
        want.map((v, i) => into.values[i] + 0.5 * v),
      );
    },
  };
}

const MATRICES = [matrixForm("f32", 8, 8, 8), matrixForm("f16", 16, 16, 16), matrixForm("f16", 8, 16, 16)];

export const matmulFormCases: KernelCase[] = [
  plain(rowsForm(1, 4, false), "nt", [1, 63, 65], "f32"),
  plain(rowsForm(1, 2, true), "nt", [1, 40, 132, 16], "bf16"),
  plain(rowsForm(4, 2, false), "nt", [3, 63, 520, 4], "bf16"),
  plain(rowsForm(2, 2, true), "nt", [19, 70, 264, 16], "bf16"),
  plain(rowsForm(2, 1, true), "nt", [2, 33, 64], "f16"),
  plain(rowsForm(2, 1, false), "nt", [7, 33, 128], "int8"),
  plain(rowsForm(2, 2, true), "nt", [3, 33, 68], "nf4"),
  swiglu(rowsForm(2, 2, true), 5, 37, 72),
  rotary(rowsForm(2, 2, false), 5, 8, 20),
  plain(stagedForm(8, 8), "nt", [70, 130, 96], "bf16"),
  plain(stagedForm(8, 8), "nt", [70, 130, 96, 16], "bf16"),
  plain(stagedForm(4, 4), "nt", [40, 66, 96, 16], "bf16"),
  plain(stagedForm(8, 8), "nn", [65, 68, 100, 5], "bf16"),
  plain(stagedForm(8, 4), "tn", [66, 40, 63], "f32"),
  plain(stagedForm(4, 8), "nt", [33, 68, 64, 3], "int8"),
  split([40, 66, 200], 64),
  plain(halvesForm, "nt", [13, 70, 76, 4], "bf16"),
  swiglu(halvesForm, 13, 37, 68),
  swiglu(stagedForm(4, 4), 33, 37, 24),
  rotary(stagedForm(4, 4), 33, 8, 36),
  plain(stagedForm(4, 4, "f16"), "nt", [40, 66, 524], "f32"),
  plain(MATRICES[0], "nt", [67, 68, 96, 8], "bf16"),
  plain(MATRICES[0], "nn", [66, 40, 64], "f32"),
  plain(MATRICES[0], "nn", [66, 40, 64, 8], "f32"),
  plain(MATRICES[1], "nt", [70, 68, 512, 16], "bf16"),
  plain(MATRICES[1], "nt", [65, 36, 64], "nf4"),
  plain(MATRICES[2], "nn", [67, 40, 96, 16], "f32"),
  plain(MATRICES[2], "nn", [65, 40, 64, 40], "bf16"),
  swiglu(MATRICES[0], 66, 37, 32),
  rotary(MATRICES[1], 66, 8, 64),
  // ranks that are no multiples of 8, alone and side by side
  plain(MATRICES[1], "nt", [66, 68, 64, 4], "bf16"),
  plain(MATRICES[1], "nn", [66, 40, 64, 13], "f32"),
  swiglu(MATRICES[1], 66, 37, 32, 12),
  rotary(MATRICES[1], 66, 8, 64, 5),
];
