import { expect, it } from "vitest";
import { briefly, faultsOf, type IsaRow, sharesOf } from "../../bench/isa.ts";
import { loopsOf } from "../../bench/isa-loops.ts";
import { usePublishedKernels } from "./published-kernels.ts";

const compiles = usePublishedKernels();

it("every kernel that training and decoding of published shapes need compiles", () => compiles("amd"));

const fma = (n: number) => "\tv_fmac_f32_e32 v1, v2, v3 ; 00\n".repeat(n);

it("counts innermost loops only, and a dual instruction as two", () => {
  const assembly = `BB0:
\tv_mov_b32_e32 v0, 0 ; 00
BB1:
\tv_add_nc_u32_e32 v1, 1, v1 ; 00
BB2:
${fma(8)}\tv_min_u32_e32 v4, 3, v4 ; 00
\ts_cbranch_scc0 BB2 ; 00
BB3:
\tv_dual_fmac_f32 v1, v2, v3 :: v_dual_fmac_f32 v4, v5, v6 ; 00
\ts_cbranch_scc0 BB1 ; 00
BB4:
${"\tv_dual_fmac_f32 v1, v2, v3 :: v_dual_mov_b32 v4, v5 ; 00\n".repeat(8)}\ts_branch BB4 ; 00
BB5:
${fma(7)}\ts_branch BB5 ; 00
`;
  const loops = loopsOf(assembly);
  expect(loops).toEqual([
    { fma: 8, valu: 1, share: 8 / 9 },
    { fma: 8, valu: 8, share: 0.5 },
  ]);
  expect(sharesOf({ loops })).toBe("0.89 of 9, 0.50 of 16");
});

it("names a variant by what it has", () => {
  const tile = { rows: 8, cols: 4, lanes: 16, groups: 16, stage: 16, broadcast: 0 };
  expect(briefly({ a: "f32", transA: false, transB: true, bias: "none", half: 0, tile })).toBe(
    "a f32, transB, staged 8×4 of 16×16 by 16",
  );
});

it("finds spilled registers everywhere, and loops and subgroups below their limits on RDNA 2 and 3", () => {
  const loop = (fma: number, valu: number) => ({ fma, valu, share: fma / (fma + valu) });
  const row = (changes: Partial<IsaRow>): IsaRow => ({
    ...{
      commit: "",
      date: "",
      adapter: "amd rdna-3 radv",
      family: "matmul",
      kernel: "matmulStaged",
      variant: { a: "f32" },
    },
    ...{ wave: 64, vgprs: 144, spilled: 0, lds: 0, waves: 8, instructions: 1000, loops: [loop(256, 2), loop(85, 15)] },
    ...changes,
  });
  const faults = (changes: Partial<IsaRow>) => faultsOf([row(changes)]);
  expect(faults({})).toEqual([]);
  expect(faults({ waves: 7 })).toEqual([
    "matmulStaged (a f32) leaves room for 7 subgroups a SIMD, at least 8 are asked",
  ]);
  expect(faults({ loops: [loop(256, 2), loop(84, 16)] })).toEqual([
    "matmulStaged (a f32) has loops of 0.99 of 258, 0.84 of 100, a share of 0.85 is asked",
  ]);
  expect(faults({ kernel: "attentionBackwardQ", loops: [loop(80, 20)] })).toEqual([]);
  expect(faults({ kernel: "attentionBackwardQ", loops: [loop(79, 21)] })).toHaveLength(1);
  expect(faults({ kernel: "attentionMatrices", loops: [loop(40, 60)] })).toEqual([]);
  expect(faults({ kernel: "deltaScan", waves: 6, loops: [loop(75, 25)] })).toEqual([]);
  const elsewhere = { adapter: "nvidia hopper", waves: 6, loops: [loop(1, 9)] };
  expect(faults(elsewhere)).toEqual([]);
  expect(faults({ ...elsewhere, spilled: 3 })).toEqual(["matmulStaged (a f32) spills 3 registers"]);
});
