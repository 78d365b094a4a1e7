import { describe, expect, it } from "vitest";
import { Gpu } from "../../../src/gpu/device.ts";
import { fakeGpu } from "../../../src/gpu/fake-device.ts";
import { matrixProbe, provenMatrix, SUBGROUP_MATRIX, subgroupMatrixOf } from "../../../src/gpu/subgroup-matrix.ts";
import type { DType } from "../../../src/gpu/tensor.ts";
import { CaseRun } from "../../../src/kernels/check.ts";
import { matrixTiles } from "../../../src/kernels/matmul/gpu-tiles.ts";
import { matmul } from "../../../src/kernels/matmul/matmul.ts";
import { matmulBf16Cases } from "../../../src/kernels/matmul/matmul-bf16.cases.ts";
import { matmulFormCases, rowsForm } from "../../../src/kernels/matmul/matmul-form.cases.ts";
import { tileKey } from "../../../src/kernels/matmul/matmul-tile.ts";
import { exportTuning, importTuning } from "../../../src/kernels/matmul/matmul-tune.ts";
import { openNullAdapter } from "../../../src/platform/node/node.ts";
import { profileFor } from "../../gpu/adapters.ts";
import { describeCases, useGpu } from "../harness.ts";
import { checkOwnChoice, firstRow } from "./few-rows.ts";

// A kernel of these takes Mesa's renderer 3 to 15 s to compile, and the others have each of its parts. `npm run check:slow`
// and the doctor run all.
const SLOW =
  /^((8×8 staged, (nn|nt .* r)|8×4 staged, tn|4×4 staged, (swiglu|rotary)|4×8 staged, nt|matrices f32 8×8×8, (swiglu|nn .* r)|columns by halves, nt) |matrices f16 8×16×16, nn .* f32)/;
describeCases(
  "matmul forms",
  matmulFormCases.filter(({ name }) => !SLOW.test(name)),
);
describeCases("matmul of activations in bf16", matmulBf16Cases);

it("a product that cannot be stored as bf16 is refused with its shapes", () => {
  const record = fakeGpu().recorder();
  const [x, w] = [record.empty([4, 8], "f32", "x"), record.empty([7, 8], "f32", "w")];
  const into = record.empty([4, 7], "bf16", "logits");
  expect(() => matmul(record, x, w, { transB: true, into })).toThrow(
    "Cannot multiply x [4,8] by w [7,8]ᵀ into logits in bf16: the right operand must be transposed, its rows even in number",
  );
});

describe("few rows", () => {
  const gpu = useGpu();

  it("a GPU's own choice gives a row the same bits in every batch", async () => {
    await checkOwnChoice([2, 4]); // matmul.slow.ts has more rows: a kernel of 16 takes Mesa's renderer 5 s to compile
  });

  it("summing lanes by the subgroup gives a row the same bits in every batch, for every tile", async () => {
    const tile = (rows: number, cols: number) => ({ tile: rowsForm(rows, cols, true).tile(gpu()) });
    const alone = await firstRow(gpu(), 1, tile(1, 2));
    expect(await firstRow(gpu(), 4, tile(4, 1))).toEqual(alone);
    expect(await firstRow(gpu(), 16, tile(2, 4))).toEqual(alone);
  });
});

const check = (gpu: Gpu, shape: number[], dtype: DType) => gpu.persistent(shape, dtype, "operand", "scratch");

describe("subgroup matrices", () => {
  const kinds = [
    { componentType: "f16", resultComponentType: "f16", M: 16, N: 16, K: 16 },
    { componentType: "f16", resultComponentType: "f32", M: 16, N: 8, K: 16 },
    { componentType: "f16", resultComponentType: "f32", M: 16, N: 16, K: 16 },
    { componentType: "f32", resultComponentType: "f32", M: 8, N: 8, K: 8 },
  ];
  const found = (name: Parameters<typeof profileFor>[0], f16 = true, ...features: string[]) => {
    const adapter = { features: new Set(features), info: { subgroupMatrixConfigs: kinds } } as unknown as GPUAdapter;
    return subgroupMatrixOf(adapter, profileFor(name), f16);
  };

  it("are those with f32 sums, f16 first, the largest", () => {
    const f16 = { type: "f16", m: 16, n: 16, k: 16, size: 32, multiple: 32 };
    expect(found("nvidia", true, SUBGROUP_MATRIX)).toEqual(f16);
    expect(found("nvidia", false, SUBGROUP_MATRIX)).toMatchObject({ type: "f32", m: 8 });
    expect(found("nvidia")).toBeNull();
    expect(found("apple", true, SUBGROUP_MATRIX)).toMatchObject({ size: 32, multiple: 64 });
    expect(found("amd", true, SUBGROUP_MATRIX)).toMatchObject({ type: "f16", size: 32, asks: true });
  });

  it("compile, with the builtins, for every tile and product", async () => {
    const { adapter } = await openNullAdapter(["allow_unsafe_apis"]);
    const device = await adapter.requestDevice({
      requiredFeatures: [SUBGROUP_MATRIX, "shader-f16", "subgroups" as GPUFeatureName],
    });
    const multiple = adapter.info.subgroupMaxSize!; // Dawn requires workgroups to be multiples of the largest subgroup
    const used = new Set<string>();
    for (const [type, m, n, k] of [
      ["f16", 16, 16, 16],
      ["f16", 16, 8, 16],
      ["f32", 8, 8, 8],
    ] as const) {
      const matrix = { type, m, n, k, size: 32, multiple };
      const features = { f16: true, subgroups: true, timestamps: false, matrix };
      const profile = profileFor("nvidia");
      const gpu = new Gpu(device, { features, profile });
      expect(await provenMatrix(device, matrix, false)).toEqual(matrix);
      expect(await provenMatrix(device, matrix)).toBeNull(); // this device computes nothing
      expect(matrixProbe({ ...matrix, older: true })).toContain("right[0], 0u, true,");
      const run = async (cases: typeof matmulFormCases) => {
        for (const item of cases) {
          const check = new CaseRun(gpu, gpu.recorder(), 1);
          item.run(check);
          check.record.submit();
        }
        await gpu.settle();
      };
      await run(matmulFormCases.filter(({ name }) => name.startsWith(`matrices ${type}`)));
      expect(matrixTiles(gpu).length).toBeGreaterThan(0);
      gpu.precision = "high"; // matrices of f16 compute nothing otherwise
      for (const tile of matrixTiles(gpu)) {
        for (const transB of [true, false]) {
          for (const stored of ["f32", "f16", "bf16", "int8", "nf4"] as const) {
            const key = tileKey(false, transB, stored, 1000, 1000, type === "f16");
            gpu.tuning.set(key, JSON.stringify(tile));
            const [a, b] = [check(gpu, [1000, 64], "f32"), check(gpu, transB ? [1000, 64] : [64, 1000], stored)];
            const record = gpu.recorder();
            matmul(record, a, b, { transB });
            record.submit();
            await gpu.settle();
          }
        }
      }
      for (const { shader } of gpu.programs.kernels) used.add(shader.name);
      const [known, text] = [new Map(gpu.tuning), exportTuning(gpu)];
      gpu.tuning.clear();
      expect(importTuning(gpu, text)).toBeNull();
      expect(new Map(gpu.tuning)).toEqual(known);
      const without = new Gpu(device, { features: { ...features, matrix: null }, profile });
      expect(importTuning(without, text)).toMatch(/matrices f/);
    }
    expect(used).toContain("matmulSubgroupMatrix");
    device.destroy();
  });
});
