import { describe, expect, it } from "vitest";
import { MemoryError, ShapeError } from "../../src/errors.ts";
import { fakeGpu } from "../../src/gpu/fake-device.ts";
import type { Recorder } from "../../src/gpu/recorder.ts";
import { type Tensor, view } from "../../src/gpu/tensor.ts";
import { useGpu } from "../kernels/harness.ts";

/** y[i] = scale · x[i] + shift */
const affine = () => `
struct Params { count: u32, scale: f32, shift: f32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < params.count) { y[id.x] = params.scale * x[id.x] + params.shift; }
}`;

/** Each workgroup adds one to the element of its number. */
const visit = () => `
@group(0) @binding(0) var<storage, read_write> seen: array<u32>;
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let at = group.y * grid.x + group.x;
  if (at < arrayLength(&seen)) { seen[at] += 1u; }
}`;

const two = () => `
@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> b: array<f32>;
@compute @workgroup_size(1)
fn main() { a[0] = 1.0; b[0] = 2.0; }`;

describe("Recorder", () => {
  const gpu = useGpu();
  const run = (record: Recorder, x: Tensor, y: Tensor, scale: number, shift: number) =>
    record.dispatch(affine, {}, { x, y }, { count: x.shape[0], scale, shift }, Math.ceil(x.shape[0] / 64));
  const floats = async (data: Promise<ArrayBuffer>) => [...new Float32Array(await data)];

  it("names the kernel when a binding or a parameter is missing or unknown", () => {
    const record = gpu().recorder();
    const [x, y] = [record.zeros([4], "f32", "x"), record.zeros([4], "f32", "y")];
    const all = { count: 4, scale: 1, shift: 0 };
    expect(() => record.dispatch(affine, {}, { x }, all, 1)).toThrow(
      new ShapeError("Cannot dispatch affine: it binds x,y, got x"),
    );
    expect(() => record.dispatch(affine, {}, { x, y, z: x }, all, 1)).toThrow(
      new ShapeError("Cannot dispatch affine: it has no binding z"),
    );
    expect(() => record.dispatch(affine, {}, { x, y }, { count: 4, scale: 1 }, 1)).toThrow(
      new ShapeError("Cannot dispatch affine: parameter shift is missing"),
    );
    record.release(x, y);
    record.submit();
  });

  it("refuses one buffer that is read and written, or written twice where it overlaps", async () => {
    const record = gpu().recorder();
    const t = record.zeros([256], "f32", "t");
    const parts = [view(t, [64], 0, "low"), view(t, [64], 64, "high"), view(t, [65], 0, "wide")];
    expect(() => run(record, parts[0], parts[1], 1, 0)).toThrow(
      new ShapeError("Cannot dispatch affine: y (high) is written and shares its buffer with x (low)"),
    );
    expect(() => record.dispatch(two, {}, { a: parts[2], b: parts[1] }, {}, 1)).toThrow(/a \(wide\) is written/);
    record.dispatch(two, {}, { a: parts[0], b: parts[1] }, {}, 1);
    const got = floats(record.read(t));
    record.submit();
    expect((await got)[0]).toBe(1);
    expect((await got)[64]).toBe(2);
    record.release(t);
  });

  it("folds a long grid over two dimensions: each workgroup runs once", async () => {
    const count = 65_535 + 4_465;
    const record = gpu().recorder();
    const seen = record.zeros([count], "u32", "seen");
    record.dispatch(visit, {}, { seen }, {}, count);
    const got = record.read(seen);
    record.submit();
    expect(new Uint32Array(await got).every((n) => n === 1)).toBe(true);
    expect(() => record.dispatch(visit, {}, { seen }, {}, [65_536, 1])).toThrow(
      "Cannot dispatch visit over [65536,1,1] workgroups: each dimension must be at most 65535",
    );
    record.release(seen);
  });

  it("runs nothing for an empty grid", async () => {
    const record = gpu().recorder();
    const seen = record.zeros([4], "u32", "seen");
    record.dispatch(visit, {}, { seen }, {}, 0);
    const got = record.read(seen);
    record.submit();
    expect([...new Uint32Array(await got)]).toEqual([0, 0, 0, 0]);
    record.release(seen);
  });

  it("keeps uploads in order, although they share one reused buffer", async () => {
    const record = gpu().recorder();
    const outs: Promise<ArrayBuffer>[] = [];
    const buffers = new Set<GPUBuffer>();
    for (let i = 0; i < 5; i++) {
      record.scope(() => {
        const x = record.upload(new Float32Array([i, 10 * i]), [2], "x");
        const y = record.empty([2], "f32", "y");
        buffers.add(x.buffer!);
        run(record, x, y, 2, 1);
        outs.push(record.read(y));
      });
    }
    record.submit();
    expect(buffers.size).toBeLessThan(5);
    for (let i = 0; i < 5; i++) expect(await floats(outs[i])).toEqual([2 * i + 1, 20 * i + 1]);
  });

  it("takes more parameters than the uniform arena holds, without mixing them up", async () => {
    const record = gpu().recorder();
    const count = 4096 + 500;
    const x = record.upload(new Float32Array([1]), [1], "x");
    const ys = record.zeros([64 * count], "f32", "ys");
    for (let i = 0; i < count; i++) run(record, x, view(ys, [1], 64 * i), i, 0.5);
    const got = record.read(ys);
    record.submit();
    const values = new Float32Array(await got);
    let wrong = 0;
    for (let i = 0; i < count; i++) if (values[64 * i] !== i + 0.5) wrong++;
    expect(wrong).toBe(0);
    record.release(x, ys);
    gpu().bindGroups.clear();
  });

  it("packs unsigned and signed parameters unchanged", async () => {
    const integers = () => `
struct Params { u: u32, i: i32, f: f32 }
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<uniform> params: Params;
@compute @workgroup_size(1)
fn main() { y[0] = f32(params.u >> 31u); y[1] = f32(params.i); y[2] = params.f; }`;
    const record = gpu().recorder();
    const y = record.zeros([3], "f32", "y");
    record.dispatch(integers, {}, { y }, { u: 0xffffffff, i: -7, f: 0.1 }, 1);
    const got = record.read(y);
    record.submit();
    expect(await floats(got)).toEqual([1, -7, Math.fround(0.1)]);
    record.release(y);
  });

  it("splits long work into submissions automatically, in order", async () => {
    const record = gpu().recorder();
    const { pace, device } = gpu();
    const before = pace.budget;
    let submits = 0;
    const submit = device.queue.submit;
    device.queue.submit = (buffers) => {
      submits++;
      return submit.call(device.queue, buffers);
    };
    try {
      pace.budget = 1000;
      let x = record.upload(new Float32Array([0]), [1], "x");
      for (let i = 0; i < 20; i++) {
        const y = record.empty([1], "f32", "y");
        record.dispatch(affine, {}, { x, y }, { count: 1, scale: 2, shift: 1 }, 1, 400);
        x = y;
      }
      const got = record.read(x);
      record.submit();
      expect(submits).toBeGreaterThanOrEqual(7);
      expect(await floats(got)).toEqual([2 ** 20 - 1]);
    } finally {
      device.queue.submit = submit;
      pace.budget = before;
    }
  });

  it("repeats a captured sequence, with other parameters, on the current content of its buffers", async () => {
    const x = gpu().upload(new Float32Array([1, 2]), [2], "f32", "x", "scratch");
    const record = gpu().recorder();
    const pass = (scale: number) =>
      record.scope(() => {
        const zero = record.zeros([2], "f32", "zero");
        const y = record.empty([2], "f32", "y");
        run(record, x, y, scale, 0);
        run(record, y, zero, 1, 0);
        record.copy(y, x);
      });
    const { sequence } = record.capture(() => pass(2));
    record.repeat(sequence);
    record.submit();
    record.repeat(sequence, { scale: 5 });
    const got = record.read(x);
    record.submit();
    expect(await floats(got)).toEqual([20, 40]);
    await gpu().settle();
    gpu().drop(x);
  });

  it("refuses to capture uploads and read-backs, and then stops capturing", () => {
    const record = gpu().recorder();
    expect(() => record.capture(() => record.upload(new Float32Array(1), [1], "x"))).toThrow(
      /Cannot upload x inside a captured sequence/,
    );
    record.scope(() => {
      const x = record.upload(new Float32Array(1), [1], "x");
      expect(() => record.capture(() => record.read(x))).toThrow(/Cannot read x inside a captured sequence/);
    });
    record.submit();
  });

  it("refuses a copy that does not fit", () => {
    const record = gpu().recorder();
    const [x, y] = [record.zeros([65], "f32", "x"), record.zeros([64], "f32", "y")];
    expect(() => record.copy(x, y)).toThrow(new ShapeError("Cannot copy x (260 bytes) into y (256 bytes)"));
    record.release(x, y);
    record.submit();
  });
});

describe("scopes", () => {
  const record = () => fakeGpu().recorder();

  it("release tensors created in them, except their results", () => {
    const r = record();
    const { pool } = r.gpu;
    let inner!: Tensor;
    const kept = r.scope(() => {
      inner = r.empty([1000], "f32", "inner");
      return { rows: [r.empty([10], "f32", "kept")] };
    });
    expect(inner.block!.free).toBe(true);
    expect(kept.rows[0].block!.free).toBe(false);
    expect(pool.largest(9).map(({ label }) => label)).toEqual(["kept"]);
  });

  it("pass their results to the enclosing scope", () => {
    const r = record();
    let kept!: Tensor;
    r.scope(() => {
      kept = r.scope(() => r.empty([10], "f32", "kept"));
      expect(kept.block!.free).toBe(false);
    });
    expect(kept.block!.free).toBe(true);
  });

  it("keep a tensor that is returned with another shape", () => {
    const r = record();
    const back = r.scope(() => ({ ...r.empty([10], "f32", "x"), shape: [2, 5] }));
    expect(back.block!.free).toBe(false);
  });

  it("allow an early release, a repeated release, and the release of views", () => {
    const r = record();
    r.scope(() => {
      const x = r.empty([10], "f32", "x");
      r.release(x, x, null, undefined, view(x, [5]));
      const y = r.empty([10], "f32", "y");
      expect(y.block).toBe(x.block);
    });
    expect(r.gpu.pool.largest(9)).toEqual([]);
  });

  it("refuse to release a tensor again whose memory is another's by now, and leave the other alone", () => {
    const r = record();
    r.scope(() => {
      const x = r.empty([10], "f32", "x");
      r.release(x);
      const y = r.empty([10], "f32", "y");
      expect(y.block).toBe(x.block);
      expect(() => r.release(x)).toThrow(
        new ShapeError(
          "Cannot release x [10] twice: its memory is that of y now; release a tensor once, after its last use",
        ),
      );
      expect(y.block!.free).toBe(false);
      r.release({ ...y, shape: [2, 5] });
      expect(y.block!.free).toBe(true);
    });
  });

  it("keep what a returned view is a view of, until the enclosing scope ends", () => {
    const r = record();
    let base!: Tensor;
    r.scope(() => {
      const part = r.scope(() => {
        base = r.empty([100], "f32", "base");
        r.empty([100], "f32", "other");
        return { part: view(base, [64], 0) };
      });
      expect(base.block!.free).toBe(false);
      const next = r.empty([100], "f32", "next");
      expect(next.buffer).not.toBe(part.part.buffer);
    });
    expect(base.block!.free).toBe(true);
    expect(r.gpu.pool.largest(9)).toEqual([]);
  });

  it("release everything when their body throws, and pass the error on", () => {
    const r = record();
    expect(() =>
      r.scope(() => {
        r.empty([10], "f32", "outer");
        r.scope(() => {
          r.empty([10], "f32", "inner");
          throw new Error("inside");
        });
      }),
    ).toThrow("inside");
    expect(r.gpu.pool.largest(9)).toEqual([]);
  });

  it("a binding past the adapter's limit is refused with the numbers, before the driver sees it", () => {
    const r = fakeGpu({ limits: { maxBufferSize: 1 << 30, maxStorageBufferBindingSize: 1 << 20 } }).recorder();
    const [x, y] = [r.empty([1 << 19], "f32", "x"), r.empty([1], "f32", "y")];
    expect(() => r.dispatch(affine, {}, { x, y }, { count: 1, scale: 1, shift: 0 }, 1)).toThrow(
      new MemoryError(
        `Cannot bind x [${1 << 19}] to affine: ${1 << 21} bytes exceed maxStorageBufferBindingSize of ${1 << 20}`,
      ),
    );
  });
});
