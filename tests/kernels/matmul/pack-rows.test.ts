import { expect, it } from "vitest";
import { packRowsCases } from "../../../src/kernels/matmul/pack-rows.cases.ts";
import { packRowReference, packRows } from "../../../src/kernels/matmul/pack-rows.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("pack_rows", packRowsCases);

const gpu = useGpu();

it("a row with an infinite value keeps it, and no other row gets one", async ({ skip }) => {
  skip(!gpu().features.f16, "this adapter has no f16");
  const a = new Float32Array(3 * 8).fill(3e38);
  a[8 + 5] = Number.POSITIVE_INFINITY;
  const x = gpu().upload(a, [3, 8], "f32", "x", "scratch");
  const record = gpu().recorder();
  const { packed, scales } = packRows(record, x, null, { rows: 3, k: 8, lda: 8, aAt: 0, ld: 16 });
  const reads = [record.read(packed), record.read(scales)];
  record.submit();
  const bits = new Uint16Array(await reads[0]);
  const { values, scale } = packRowReference(a.subarray(0, 8));
  const top = values[0] / 2 ** 14;
  const want = ((14 + 15) << 10) | Math.round(1024 * (top - 1));
  for (const row of [0, 2]) expect([...bits.subarray(row * 16, row * 16 + 8)]).toEqual(new Array(8).fill(want));
  expect(bits[16 + 5]).toBe(0x7c00);
  for (const row of [0, 1, 2]) expect([...bits.subarray(row * 16 + 8, row * 16 + 16)]).toEqual(new Array(8).fill(0));
  expect([...new Float32Array(await reads[1])]).toEqual([1 / scale, 1, 1 / scale]);
  gpu().drop(x);
});
