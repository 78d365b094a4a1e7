import { expect, it } from "vitest";
import { gradientError } from "../../../src/kernels/check.ts";
import { embeddingCases } from "../../../src/kernels/embedding/embedding.cases.ts";
import {
  embedding,
  embeddingBackward,
  embeddingBackwardReference,
  embeddingReference,
  groupTokens,
} from "../../../src/kernels/embedding/embedding.ts";
import { describeCases, useGpu } from "../harness.ts";

describeCases("embedding", embeddingCases);

it("the reference gradient agrees with finite differences", () => {
  const wave = (n: number, phase: number) => Float64Array.from({ length: n }, (_, i) => Math.sin(7 * i + phase));
  const ids = [3, 0, 3, 2];
  const [table, dy] = [wave(5 * 3, 1), wave(4 * 3, 2)];
  const dot = (y: Float64Array) => y.reduce((sum, v, i) => sum + v * dy[i], 0);
  const dweight = embeddingBackwardReference(ids, dy, 5);
  expect(gradientError((moved) => dot(embeddingReference(ids, moved, 3)), table, dweight, 15)).toBeLessThan(1e-7);
});

it("groups positions by id, each group in order", () => {
  const { tokens, starts, order } = groupTokens(Int32Array.from([5, 2, 5, 151935, 2, 5]));
  expect([...tokens]).toEqual([2, 5, 151935]);
  expect([...starts]).toEqual([0, 2, 5, 6]);
  expect([...order]).toEqual([1, 4, 0, 2, 5, 3]);
  expect([...groupTokens(new Uint32Array(0)).starts]).toEqual([0]);
});

const device = useGpu();

it("keeps the noise within its scale and away from a constant", async () => {
  const gpu = device();
  const record = gpu.recorder();
  const ids = record.zeros([50], "u32", "ids");
  const weight = record.zeros([1, 64], "f32", "weight");
  const x = embedding(record, ids, [{ tensor: weight, start: 0 }], { noiseScale: 0.5, seed: 1 });
  const read = record.read(x);
  record.submit();
  const values = [...new Float32Array(await read, 0, 3200)];
  const mean = values.reduce((a, b) => a + b) / values.length;
  const deviation = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length);
  expect(Math.max(...values.map(Math.abs)) <= 0.5).toBe(true);
  expect(Math.abs(mean) < 0.03).toBe(true);
  expect(Math.abs(deviation - 0.5 / Math.sqrt(3)) < 0.02).toBe(true);
});

it("refuses shards and groups that do not fit, naming the shapes", () => {
  const record = device().recorder();
  const make = (shape: number[], label: string) => record.empty(shape, "f32", label);
  const ids = record.empty([3], "u32", "ids");
  expect(() => embedding(record, ids, [])).toThrow("no shard");
  const shards = [make([2, 8], "a"), make([2, 6], "b")].map((tensor, i) => ({ tensor, start: 2 * i }));
  expect(() => embedding(record, ids, shards)).toThrow("b [2,6] must be [2,8]");
  const groups = { tokens: make([2], "tokens"), starts: make([2], "starts"), order: make([3], "order") };
  expect(() => embeddingBackward(record, make([3, 8], "dy"), groups, shards[0].tensor, 0)).toThrow("starts [2]");
});
