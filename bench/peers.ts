import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { Gpu } from "../src/gpu/device.ts";
import { matmul } from "../src/kernels/matmul/matmul.ts";
import type { Platform } from "../src/platform/adapter.ts";
import { lcg } from "../src/text/hash.ts";
import { judged, productLimit, type Ratio } from "./limits.ts";
import { interleave, now, ratioOf, type Subject, since, type Time, type Timed } from "./measure.ts";
import { type BenchRow, rowsOf } from "./rows.ts";

/** `[m, k] · [k, n]`, or with `transB` `[m, k] · [n, k]ᵀ`, in f32. */
interface Product {
  m: number;
  k: number;
  n: number;
  transB: boolean;
}

/** A product that a library has computed once and can compute again. */
interface PeerProduct {
  timed: Timed;
  result(): Promise<Float32Array>;
}

export interface Peer {
  name: string;
  product(x: Float32Array, w: Float32Array, of: Product): Promise<PeerProduct>;
}

/** The reason for a failure. */
export type Report = (line: string) => void;

const X_W: readonly [number, number] = [896, 4864];
export const PRODUCTS: readonly Product[] = [
  { m: 512, k: X_W[0], n: X_W[1], transB: true },
  { m: 512, k: X_W[0], n: X_W[1], transB: false },
  { m: 128, k: X_W[0], n: X_W[1], transB: false },
  { m: 1, k: X_W[0], n: X_W[1], transB: false },
];

const shapeOf = ({ m, k, n, transB }: Product) => (transB ? `[${m},${k}]×[${n},${k}]ᵀ` : `[${m},${k}]×[${k},${n}]`);
export const nameOf = (peer: string, product: Product) => `${peer} ${shapeOf(product)}`;
export const OURS = "qwench";

/** The part of jax-js that the benchmark uses. */
interface JaxArray {
  ref: JaxArray;
  reshape(shape: number[]): JaxArray;
  transpose(): JaxArray;
  blockUntilReady(): Promise<unknown>;
  data(): Promise<Float32Array>;
  dispose(): void;
}
interface Jax {
  init(device: string): Promise<string[]>;
  defaultDevice(device: string): void;
  getWebGPUDevice(): GPUDevice;
  numpy: { array(data: Float32Array): JaxArray; matmul(x: JaxArray, y: JaxArray): JaxArray };
}

/** The part of tfjs that the benchmark uses. */
interface TfTensor {
  data(): Promise<Float32Array>;
  dispose(): void;
}
interface Tf {
  setBackend(name: string): Promise<boolean>;
  backend(): TfBackend;
  tensor2d(data: Float32Array, shape: [number, number]): TfTensor;
  matMul(a: TfTensor, b: TfTensor, transA: boolean, transB: boolean): TfTensor;
}
interface TfBackend {
  device: GPUDevice;
  ensureCommandEncoderReady(): void;
  endComputePassEncoder(): void;
  submitQueue(): void;
}

async function openJax(gpu: Gpu): Promise<Peer> {
  const jax = await load<Jax>("@jax-js/jax");
  if (!(await jax.init("webgpu")).includes("webgpu")) throw new Error("its WebGPU backend did not start");
  jax.defaultDevice("webgpu");
  const { array, matmul } = jax.numpy;
  return {
    name: "jax-js",
    async product(x, w, { m, k, n, transB }) {
      const a = array(x).reshape([m, k]);
      const b = array(w).reshape(transB ? [n, k] : [k, n]);
      const once = () => matmul(a.ref, transB ? b.ref.transpose() : b.ref);
      return {
        timed: async (times) => {
          const start = now();
          const made = Array.from({ length: times }, once);
          // its own wait reads no bytes, so it does not wait for the queue
          await gpu.wait(
            Promise.all(made.map((y) => y.blockUntilReady())).then(() =>
              jax.getWebGPUDevice().queue.onSubmittedWorkDone(),
            ),
          );
          const time = since(start, times);
          for (const y of made) y.dispose();
          return time;
        },
        result: () => gpu.wait(once().data()),
      };
    },
  };
}

async function openTf(gpu: Gpu): Promise<Peer> {
  const tf = await load<Tf>("@tensorflow/tfjs-core");
  await load("@tensorflow/tfjs-backend-webgpu");
  if (!(await tf.setBackend("webgpu"))) throw new Error("its WebGPU backend did not start");
  const backend = tf.backend();
  return {
    name: "tfjs",
    async product(x, w, { m, k, n, transB }) {
      const a = tf.tensor2d(x, [m, k]);
      const b = tf.tensor2d(w, transB ? [n, k] : [k, n]);
      const once = () => tf.matMul(a, b, false, transB);
      return {
        timed: async (times) => {
          const start = now();
          const made = Array.from({ length: times }, once);
          backend.ensureCommandEncoderReady(); // it submits every 15 dispatches; this submits the rest
          backend.endComputePassEncoder();
          backend.submitQueue();
          await gpu.wait(backend.device.queue.onSubmittedWorkDone());
          const time = since(start, times);
          for (const y of made) y.dispose();
          return time;
        },
        result: () => gpu.wait(once().data()),
      };
    },
  };
}

/** Imports a development dependency by a name that bundlers and the compiler do not resolve. */
async function load<T>(name: string): Promise<T> {
  return import(/* @vite-ignore */ name) as Promise<T>;
}

/** The version of an installed package. */
function versionOf(name: string): string {
  const entry = createRequire(import.meta.url).resolve(name);
  for (let folder = dirname(entry); folder !== dirname(folder); folder = dirname(folder)) {
    try {
      const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
      if (about.name === name) return about.version;
    } catch {} // no package.json in this folder
  }
  return "unknown";
}

/** Opens every peer on its own device of the same adapter. Reports peers that fail to open. */
export async function openPeers(gpu: Gpu, { gpu: host, adapter }: Platform, report: Report): Promise<Peer[]> {
  const requestAdapter = async () => {
    const other = await host.requestAdapter({ powerPreference: "high-performance" });
    const [got, want] = [other?.info.description, adapter.info.description];
    if (!other || got !== want) throw new Error(`it would run on ${got ?? "no adapter"}, not on ${want}`);
    return other;
  };
  const navigator = { userAgent: `Node.js/${process.versions.node}`, hardwareConcurrency: 1, gpu: { requestAdapter } };
  Object.defineProperty(globalThis, "navigator", { value: navigator, configurable: true });
  const peers: Peer[] = [];
  for (const [name, module, open] of [
    ["jax-js", "@jax-js/jax", openJax],
    ["tfjs", "@tensorflow/tfjs-backend-webgpu", openTf],
  ] as const) {
    try {
      peers.push(await open(gpu));
      report(`${name} ${versionOf(module)} beside ours`);
    } catch (error) {
      report(`${name} is not measured: ${(error as Error).message}`);
    }
  }
  return peers;
}

/** Reproducible numbers in (−1, 1). */
export function operand(count: number, seed: number): Float32Array {
  const next = lcg(seed);
  return Float32Array.from({ length: count }, () => (next() >>> 8) / 2 ** 23 - 1);
}

/** Largest difference between `got` and `want`, relative to the mean of `want`; NaN if the sizes differ. */
export function distance(got: Float32Array, want: Float32Array): number {
  if (got.length !== want.length) return Number.NaN;
  let [worst, squares] = [0, 0];
  for (let i = 0; i < want.length; i++) {
    worst = Math.max(worst, Math.abs(got[i] - want[i])); // NaN stays
    squares += want[i] ** 2;
  }
  return worst / Math.sqrt(squares / want.length);
}

/** Tolerance for sums of 896 products in f32 in any order. */
const CLOSE = 1e-4;

/**
 * Qwench's product and each peer's with the same operands. Reports and leaves out peers that fail or compute a different
 * result.
 */
export async function productSubjects(
  gpu: Gpu,
  peers: readonly Peer[],
  products: readonly Product[],
  report: Report,
): Promise<Subject[]> {
  const subjects: Subject[] = [];
  for (const product of products) {
    const { m, k, n, transB } = product;
    const [x, w] = [operand(m * k, 1), operand(n * k, 2)];
    const a = gpu.upload(x, [m, k], "f32", "x", "scratch");
    const b = gpu.upload(w, transB ? [n, k] : [k, n], "f32", "w", "scratch");
    const ours = nameOf(OURS, product);
    const row = { shape: shapeOf(product), dtype: "f32", flops: 2 * m * k * n };
    subjects.push({ ...row, what: ours, run: (record) => void matmul(record, a, b, { transB }), yardstick: m > 8 });
    const record = gpu.recorder();
    const pending = record.scope(() => record.read(matmul(record, a, b, { transB })));
    record.submit();
    const want = new Float32Array(await pending).slice(0, m * n);
    for (const peer of peers) {
      try {
        const { timed, result } = await peer.product(x, w, product);
        const off = distance(await result(), want);
        if (!(off < CLOSE)) throw new Error(`its result differs by ${off.toPrecision(2)} of the average`);
        subjects.push({ ...row, what: nameOf(peer.name, product), run: { timed }, against: ours });
      } catch (error) {
        report(`${nameOf(peer.name, product)} is not measured: ${(error as Error).message}`);
      }
    }
  }
  return subjects;
}

/** Qwench's speed at a product relative to each peer's. Peers without a measurement are absent. */
export function againstPeers(
  subjects: readonly Subject[],
  times: readonly (readonly Time[])[],
  product: Product,
  unit: keyof Time = "ms",
): Record<string, number> {
  const ours = subjects.findIndex(({ what }) => what === nameOf(OURS, product));
  const ratios: Record<string, number> = {};
  subjects.forEach(({ what, against }, i) => {
    if (against !== subjects[ours].what) return;
    ratios[what.slice(0, what.indexOf(" "))] = ratioOf(times[i], times[ours], unit);
  });
  return ratios;
}

/** The fastest peer at a product, and Qwench's speed relative to it; null without a measured peer. */
export function fasterPeer(
  subjects: readonly Subject[],
  times: readonly (readonly Time[])[],
  product: Product,
): { name: string; ratio: Ratio } | null {
  const [ms, cpu] = (["ms", "cpu"] as const).map((unit) => againstPeers(subjects, times, product, unit));
  const [name] = Object.keys(ms).sort((a, b) => ms[a] - ms[b]);
  return name === undefined ? null : { name, ratio: { ms: ms[name], cpu: cpu[name] } };
}

/** Qwench's row of a product, with ratios to every peer and to the fastest one. The first product has a limit. */
export function productRow(
  gpu: Gpu,
  subjects: readonly Subject[],
  times: readonly (readonly Time[])[],
  product: Product,
): BenchRow {
  const row = rowsOf(gpu, subjects, times)[subjects.findIndex(({ what }) => what === nameOf(OURS, product))];
  const peers = againstPeers(subjects, times, product);
  const faster = fasterPeer(subjects, times, product);
  if (!faster) return row;
  const against = `GFLOP/s of ${faster.name}`;
  if (product === PRODUCTS[0])
    return { ...judged(row, {}, faster.ratio, productLimit(gpu.adapterName), against), peers };
  return { ...row, ratio: faster.ratio.ms, cpu_ratio: faster.ratio.cpu, against, peers };
}

/** The products of a linear layer in f32, by Qwench, jax-js and tfjs in the same rounds on the same adapter. */
export async function benchPeers(gpu: Gpu, platform: Platform, rounds: number, report: Report): Promise<BenchRow[]> {
  const peers = await openPeers(gpu, platform, report);
  const subjects = await productSubjects(gpu, peers, PRODUCTS, report);
  const times = await interleave(gpu, subjects, rounds, 300);
  const rows = rowsOf(gpu, subjects, times);
  return rows.map((row) => {
    const product = PRODUCTS.find((of) => row.what === nameOf(OURS, of));
    return product ? productRow(gpu, subjects, times, product) : row;
  });
}
