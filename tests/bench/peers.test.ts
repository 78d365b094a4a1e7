import { describe, expect, it } from "vitest";
import type { Subject, Time } from "../../bench/measure.ts";
import {
  againstPeers,
  distance,
  fasterPeer,
  nameOf,
  OURS,
  operand,
  type Peer,
  PRODUCTS,
  productRow,
  productSubjects,
} from "../../bench/peers.ts";
import { useGpu } from "../kernels/harness.ts";

const SMALL = { m: 16, k: 32, n: 24, transB: true };

it("separates Qwench's products from others", () => {
  const want = Float32Array.of(3, -4, 3, -4);
  expect(distance(want, want)).toBe(0);
  expect(distance(Float32Array.of(3, -4, 3, -3), want)).toBeCloseTo(1 / Math.sqrt(12.5), 6);
  expect(distance(new Float32Array(4), want)).toBeGreaterThan(1); // never computed
  expect(distance(Float32Array.of(3, -4), want)).toBeNaN();
  expect(distance(Float32Array.of(3, Number.NaN, 3, -4), want)).toBeNaN();
});

it("creates reproducible operands", () => {
  const x = operand(1000, 1);
  expect(x).toEqual(operand(1000, 1));
  expect(x).not.toEqual(operand(1000, 2));
  expect(x.every((v) => v >= -1 && v < 1)).toBe(true);
});

describe("products beside peers", () => {
  const gpu = useGpu();
  const timed = async () => ({ ms: 1, cpu: 1 });
  const peer = (name: string, result: (x: Float32Array, w: Float32Array) => Float32Array): Peer => ({
    name,
    product: async (x, w) => ({ timed, result: async () => result(x, w) }),
  });
  const right = (x: Float32Array, w: Float32Array) =>
    Float32Array.from({ length: 16 * 24 }, (_, at) => {
      let sum = 0;
      for (let i = 0; i < 32; i++) sum += x[Math.floor(at / 24) * 32 + i] * w[(at % 24) * 32 + i];
      return sum;
    });

  it("count only if they compute the same; others are named, with the reason", async () => {
    const lines: string[] = [];
    const lost: Peer = {
      name: "lost",
      async product() {
        throw new Error("no such kernel");
      },
    };
    const peers = [peer("honest", right), peer("lazy", () => new Float32Array(16 * 24)), lost];
    const subjects = await productSubjects(gpu(), peers, [SMALL], (line) => lines.push(line));
    expect(subjects.map(({ what }) => what)).toEqual([nameOf(OURS, SMALL), nameOf("honest", SMALL)]);
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatch(/^lazy \[16,32\]×\[24,32\]ᵀ is not measured: its result differs by/);
    expect(lines[1]).toBe("lost [16,32]×[24,32]ᵀ is not measured: no such kernel");
  });

  it("are compared with the faster peer", () => {
    const [product, other] = PRODUCTS;
    const subject = (name: string, of = product): Subject => ({
      what: nameOf(name, of),
      shape: "",
      dtype: "f32",
      flops: 1e6,
      run() {},
      against: name === OURS ? undefined : nameOf(OURS, of),
    });
    const subjects = [subject(OURS), subject("jax-js"), subject("tfjs"), subject(OURS, other)];
    const times: Time[][] = [4, 5, 3, 1].map((ms) => [{ ms, cpu: 10 * ms + 2 }]);
    expect(againstPeers(subjects, times, product)).toEqual({ "jax-js": 1.25, tfjs: 0.75 });
    expect(fasterPeer(subjects, times, product)).toEqual({ name: "tfjs", ratio: { ms: 0.75, cpu: 32 / 42 } });
    expect(fasterPeer(subjects, times, other)).toBeNull();
    const row = productRow(gpu(), subjects, times, product); // slower than a peer, which no adapter's limit allows
    expect(row).toMatchObject({ ratio: 0.75, met: false, against: "GFLOP/s of tfjs", peers: { "jax-js": 1.25 } });
    expect(productRow(gpu(), subjects, times, other)).toMatchObject({ ratio: null, against: null });
  });
});
