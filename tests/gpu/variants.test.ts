import { expect, it } from "vitest";
import { VariantTree } from "../../src/gpu/variants.ts";

it("finds what was kept for the same fields, those of objects within too", () => {
  const tree = new VariantTree<string>();
  const tile = { rows: 8, cols: 4 };
  tree.set({ a: "f32", tile, tail: true }, "first");
  expect(tree.get({ a: "f32", tile: { rows: 8, cols: 4 }, tail: true })).toBe("first");
  for (const other of [
    { a: "f16", tile, tail: true },
    { a: "f32", tile: { rows: 8, cols: 8 }, tail: true },
    { a: "f32", tile, tail: false },
    { a: "f32", tile },
    { b: "f32", tile, tail: true },
    { a: "f32", tile: { rows: 8 }, cols: 4, tail: true },
    { a: "f32", rows: 8, cols: 4, tail: true },
    {},
  ])
    expect(tree.get(other), JSON.stringify(other)).toBeNull();
});

it("takes what is undefined for absent, and keeps keys in any number of orders apart or together, but never mixed up", () => {
  const tree = new VariantTree<number>();
  tree.set({ x: 1, y: undefined }, 1);
  tree.set({ y: 1 }, 2);
  tree.set({ x: 1, y: 1 }, 3);
  expect(tree.get({ x: 1 })).toBe(1);
  expect(tree.get({ y: 1 })).toBe(2);
  expect(tree.get({ x: 1, y: 1 })).toBe(3);
  expect([3, null]).toContain(tree.get({ y: 1, x: 1 }));
});
