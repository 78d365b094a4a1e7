import { expect, it } from "vitest";
import { tokenColumnsCases } from "../../../src/kernels/head/token-columns.cases.ts";
import { putColumns, putColumnsReference } from "../../../src/kernels/head/token-columns.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("token_columns", tokenColumnsCases);

const device = useGpu();

it("leaves tokens of other shards alone", () => {
  expect([...putColumnsReference([1, 2, 3], [7, 8, 9], [4, 6, 7], 4)]).toEqual([7, 2, 8]);
});

it("refuses columns of another number of rows or tokens", () => {
  const record = device().recorder();
  const make = (shape: number[], label: string) => record.empty(shape, "f32", label);
  const shard = { logits: make([3, 8], "logits"), start: 0, ids: record.empty([2], "u32", "ids") };
  expect(() => putColumns(record, shard, make([2, 2], "columns"))).toThrow("columns [2,2] must be [3,2]");
  expect(() => putColumns(record, shard, make([3, 1], "columns"))).toThrow("columns [3,1] must be [3,2]");
});
