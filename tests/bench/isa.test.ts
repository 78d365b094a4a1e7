import { expect, it } from "vitest";
import { briefly, sharesOf } from "../../bench/isa.ts";
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
