import { beforeEach, describe, expect, it } from "vitest";
import { view } from "../../../src/gpu/tensor.ts";
import { matmul } from "../../../src/kernels/matmul/matmul.ts";
import { matmulTile, tileCandidates, tileKey } from "../../../src/kernels/matmul/matmul-tile.ts";
import {
  exportTuning,
  importTuning,
  modelProducts,
  type Product,
  tuneMatmul,
} from "../../../src/kernels/matmul/matmul-tune.ts";
import { useGpu } from "../harness.ts";

const wide: Product = { transA: false, transB: true, b: "f32", m: 80, n: 96, k: 64, extra: 8 };
const F32 = { transA: false, transB: true, b: "f32", m: 1000, n: 1000, aligned: true } as const;
const narrow: Product = { transA: false, transB: false, b: "f32", m: 80, n: 16, k: 64, extra: 0 };

describe("matmul tuning", () => {
  const gpu = useGpu();
  beforeEach(() => gpu().tuning.clear());

  it("measures each kind once, only its candidates, and frees its memory", async () => {
    const { byKind } = gpu().pool.ledger;
    const before = byKind.scratch ?? 0;
    await tuneMatmul(gpu(), [narrow, wide, { ...wide, m: 90 }], { budgetMs: 60_000 });
    // the narrow product is dispatched transposed: 16 rows, both operands transposed
    expect([...gpu().tuning.keys()]).toEqual(["matmul nt f32", "matmul tt f32 few"]);
    const candidates = [16, 80].flatMap((m) =>
      tileCandidates(gpu(), m === 16, true, "f32", m).map((tile) => JSON.stringify(tile)),
    );
    for (const tile of gpu().tuning.values()) expect(candidates).toContain(tile);
    expect(byKind.scratch ?? 0).toBe(before);
    expect(matmulTile(gpu(), F32)).toEqual(JSON.parse(gpu().tuning.get("matmul nt f32")!));

    const known = new Map(gpu().tuning);
    const compiled = gpu().programs.size;
    await tuneMatmul(gpu(), [narrow, wide]);
    expect(new Map(gpu().tuning)).toEqual(known);
    expect(gpu().programs.size).toBe(compiled);
  });

  it("keeps first candidates after its budget is used up, and stops when aborted", async () => {
    await tuneMatmul(gpu(), [wide, narrow], { budgetMs: -1 });
    expect(gpu().tuning.size).toBe(0);
    expect(matmulTile(gpu(), F32)).toEqual(tileCandidates(gpu(), false, true)[0]);
    const reason = new Error("stopped by the user");
    await expect(tuneMatmul(gpu(), [wide], { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(gpu().tuning.size).toBe(0);
  });

  it("does not change the bits of a result: a resumed run may have another winner", async () => {
    const random = (n: number) => Float32Array.from({ length: n }, (_, i) => Math.sin(12.9898 * i) * 43758.5 - 3);
    for (const transB of [true, false]) {
      const a = gpu().upload(random(72 * 40), [72, 40], "f32", "a", "scratch");
      const b = gpu().upload(random(36 * 40), transB ? [36, 40] : [40, 36], "f32", "b", "scratch");
      const c = gpu().persistent([72, 36], "f32", "c", "scratch");
      let first: Uint32Array | null = null;
      for (const tile of tileCandidates(gpu(), false, transB)) {
        gpu().tuning.set(tileKey(false, transB, "f32", 72), JSON.stringify(tile));
        const record = gpu().recorder();
        matmul(record, a, b, { transB, into: c });
        const read = record.read(c);
        record.submit();
        const bits = new Uint32Array(await read);
        first ??= bits;
        expect(bits, JSON.stringify(tile)).toEqual(first);
      }
      await gpu().settle();
      gpu().drop(a, b, c);
    }
  });

  it("a row's bits do not depend on the number of rows", async () => {
    const random = (n: number) => Float32Array.from({ length: n }, (_, i) => Math.sin(12.9898 * i) * 43758.5 - 3);
    for (const dtype of ["f32", "bf16"] as const) {
      const x = gpu().upload(random(64 * 92), [64, 92], "f32", "x", "scratch");
      const w = gpu().persistent([70, 92], dtype, "w", "scratch");
      gpu().write(
        w,
        new Uint16Array((dtype === "f32" ? 2 : 1) * 70 * 92).map((_, i) => 0x3e00 + ((i * 7919) % 0x180)),
      );
      const rows = async (m: number) => {
        const record = gpu().recorder();
        const read = record.scope(() => record.read(matmul(record, view(x, [m, 92]), w, { transB: true })));
        record.submit();
        return new Uint32Array(await read).slice(0, 70);
      };
      const alone = await rows(1);
      for (const m of [2, 4, 5, 8, 9, 16, 17, 33, 64]) expect(await rows(m), `${dtype} ${m} rows`).toEqual(alone);
      gpu().drop(x, w);
    }
  });

  it("is stored by adapter", () => {
    const [, plain] = tileCandidates(gpu(), false, true);
    const tile = { ...plain, walk: 2 };
    gpu().tuning.set("matmul nt bf16", JSON.stringify(tile));
    gpu().tuning.set("another kernel's", "key");
    const text = exportTuning(gpu());
    gpu().tuning.clear();
    expect(importTuning(gpu(), text)).toBeNull();
    expect([...gpu().tuning]).toEqual([["matmul nt bf16", JSON.stringify(tile)]]);
    gpu().tuning.set("matmul nt bf16", "measured now");
    expect(importTuning(gpu(), text)).toBeNull();
    expect(gpu().tuning.get("matmul nt bf16")).toBe("measured now");
  });

  it("ignores other files, with the reason", () => {
    const [tile] = tileCandidates(gpu(), false, false);
    const { version, adapter } = JSON.parse(exportTuning(gpu()));
    const file = (tiles: unknown, more = {}) => JSON.stringify({ version, adapter, tiles, ...more });
    const bad: [string, RegExp][] = [
      ["{", /Cannot read tuning/],
      ["null", /version is nothing/],
      ["[]", /version is nothing/],
      [file({}, { version: 2 }), /version is 2/],
      [file({}, { adapter: "another" }), /adapter "another": this adapter is/],
      [file(null), /no tiles/],
      [file([]), /no tiles/],
      [file({ attention: tile }), /"attention" is not a kind of product/],
      [file({ "matmul nn f32": null }), /a tile must be an object, got null/],
      [file({ "matmul nn f32": { ...tile, cols: 3 } }), /cols is 3/],
      [file({ "matmul nn f32": { ...tile, rows: 1e9 } }), /rows is 1000000000/],
      [file({ "matmul nn f32": { ...tile, steps: undefined } }), /steps is nothing/],
      [file({ "matmul nn f32": { ...tile, walk: 1e9 } }), /walk is 1000000000/],
      [file({ "matmul nn f32": { ...tile, lanes: "8) { }" } }), /lanes is "8\) \{ \}"/],
      [file({ "matmul nn f32": { ...tile, lanes: 256, groups: 256, broadcast: 0 } }), /65536 threads exceed/],
      [file({ "matmul nn f32": tile, "matmul nt f32": { ...tile, stage: 5 } }), /stage is 5/],
    ];
    for (const [text, reason] of bad) {
      expect(importTuning(gpu(), text), text).toMatch(reason);
      expect(gpu().tuning.size, text).toBe(0);
    }
  });
});

it("a model's products: forward, backward, the four low-rank products, and the head", () => {
  const projections = [
    [896, 896],
    [128, 896],
    [4864, 896],
    [896, 4864],
  ] as const;
  const sizes = { projections, head: [151936, 896] } as const;
  const lora = modelProducts(sizes, 256, "bf16", 16);
  expect(lora).toContainEqual({ transA: false, transB: true, b: "bf16", m: 256, n: 4864, k: 896, extra: 16 });
  expect(lora).toContainEqual({ transA: false, transB: false, b: "bf16", m: 256, n: 896, k: 128, extra: 16 });
  expect(lora).toContainEqual({ transA: true, transB: false, b: "f32", m: 16, n: 896, k: 256, extra: 0 });
  expect(lora).toContainEqual({ transA: false, transB: true, b: "bf16", m: 256, n: 151936, k: 896, extra: 0 });
  expect(lora.filter(({ b }) => b === "f32").every(({ m, n }) => Math.min(m, n) === 16)).toBe(true);
  const full = modelProducts(sizes, 256, "bf16", null);
  expect(full).toContainEqual({ transA: true, transB: false, b: "f32", m: 4864, n: 896, k: 256, extra: 0 });
  expect(full.every(({ b }) => b === "f32")).toBe(true);
});
