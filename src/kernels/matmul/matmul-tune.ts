import type { StoredMatrix } from "../../../shaders/lib/load.ts";
import { stagedBytes } from "../../../shaders/matmul/lib/staged.ts";
import type { MatmulTile } from "../../../shaders/matmul/lib/variant.ts";
import type { Gpu } from "../../gpu/device.ts";
import { fakeGpu } from "../../gpu/fake-device.ts";
import type { Kernel } from "../../gpu/program.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { parseBoundedJson } from "../../text/bounded-json.ts";
import { isObject } from "../../text/json.ts";
import { show } from "../../text/show.ts";
import { widensPanels } from "./cpu-panels.ts";
import { matrixTiles, rowsTile, STAGE, usesMatrices } from "./gpu-tiles.ts";
import { matmul } from "./matmul.ts";
import { tileCandidates, tileKey } from "./matmul-tile.ts";
import { FEW_ROWS } from "./tile-shapes.ts";

/** A product `[m, k] · [k, n]` as `matmul` dispatches it: narrow outputs transposed, see `dispatched`. */
export interface Product {
  transA: boolean;
  transB: boolean;
  b: StoredMatrix;
  m: number;
  n: number;
  k: number;
  /** steps of the low-rank part of the same sum: more code, which slows some tiles more than others; 0 = none */
  extra: number;
}

/** Distinct shapes of a model's weights, each `[out, inner]`. */
export interface WeightShapes {
  projections: readonly (readonly [out: number, inner: number])[];
  head: readonly [out: number, inner: number];
}

interface TuneOptions {
  signal?: AbortSignal;
  /**
   * milliseconds for all measurements, including compilation; products not measured in time keep their first candidate
   */
  budgetMs?: number;
}

/** Default budget for tuning before training, in milliseconds. */
const BUDGET_MS = 8000;
/** Rounds over the candidates. The best time counts, because other programs can only slow a run down. */
const ROUNDS = 3;
/**
 * The first candidate was chosen by careful measurement: another replaces it only with at most this share of its time.
 */
const CLEARLY = 0.95;
/** A measurement shorter than this measures the submission more than the kernel. */
const WORTH_MS = 2;
/** Proxy sizes for a product, smallest first: if one runs too briefly, the next is tried. */
const PROXIES = [
  { m: 64, n: 512, k: 512 },
  { m: 256, n: 1024, k: 1024 },
  { m: 1024, n: 4096, k: 1024 },
] as const;
/** On a GPU, products keep their real size: smaller ones leave the GPU idle with any tile. */
const GPU_PROXIES = [{ m: 4096, n: 8192, k: 2048 }] as const;
/** On a GPU, a product takes less time than its submission: it is repeated for this long, at most this often. */
const GPU_MS = 20;
const MOST_REPEATS = 512;

/**
 * Measures the fastest tile on this adapter for each kind of product that was not measured yet, and stores it in
 * `gpu.tuning`. Kinds with the most work come first; after the budget is used up, the rest keep their first candidates.
 *
 * Every tile computes the same sums in the same order, so that the choice does not change results; a product in `high`
 * precision has tiles of matrix units only. GPUs have a special form for few rows of x·Wᵀ, which is not measured.
 *
 * @throws {GpuError} a device error; also throws the signal's reason when that is aborted
 */
export async function tuneMatmul(gpu: Gpu, products: readonly Product[], options: TuneOptions = {}): Promise<void> {
  const { signal, budgetMs = BUDGET_MS } = options;
  const end = performance.now() + budgetMs;
  for (const [key, product] of kinds(gpu, products)) {
    if (gpu.tuning.has(key) || takesRows(gpu, product) || widensPanels(gpu, product)) continue;
    const winner = await fastest(gpu, key, product, end, signal);
    if (winner) gpu.tuning.set(key, JSON.stringify(winner));
    if (performance.now() > end) return;
  }
}

/** Whether a product never needs a tile. */
function takesRows(gpu: Gpu, { transA, transB, m, n, k }: Product): boolean {
  return rowsTile(gpu, { transA, transB, dropout: "none", pairs: "none" }, { m, parts: [{ n, k }] }) !== null;
}

/** Whether matrix units of f16 compute a product. */
function byMatrices(gpu: Gpu, { transA, m, n, k, extra }: Product): boolean {
  return usesMatrices(gpu) && !transA && m > FEW_ROWS && k % STAGE === 0 && n % 8 === 0 && extra % 8 === 0;
}

/** One product per tile key: the one with the most work. Keys are sorted by their total work. */
function kinds(gpu: Gpu, products: readonly Product[]): [string, Product][] {
  const work = ({ m, n, k }: Product) => m * n * k;
  const all = new Map<string, { product: Product; total: number }>();
  for (const product of products.map(dispatched)) {
    const { transA, transB, b, m, n } = product;
    const key = tileKey(transA, transB, b, m, gpu.profile.tiles === "staged" ? n : undefined, byMatrices(gpu, product));
    const found = all.get(key);
    if (!found) all.set(key, { product, total: work(product) });
    else {
      found.total += work(product);
      const extra = Math.max(found.product.extra, product.extra);
      found.product = { ...(work(product) > work(found.product) ? product : found.product), extra };
    }
  }
  return [...all]
    .sort(([x, a], [y, b]) => b.total - a.total || (x < y ? -1 : 1))
    .map(([key, { product }]) => [key, product]);
}

/** The product as it reaches the shader: `matmul` computes narrow f32 outputs transposed. */
function dispatched(product: Product): Product {
  const { transA, transB, b, m, n, extra } = product;
  if (!(n <= FEW_ROWS && n < m && b === "f32" && extra === 0)) return product;
  return { ...product, transA: !transB, transB: !transA, m: n, n: m };
}

async function fastest(
  gpu: Gpu,
  key: string,
  product: Product,
  end: number,
  signal: AbortSignal | undefined,
): Promise<MatmulTile | null> {
  const tiles = byMatrices(gpu, product)
    ? matrixTiles(gpu)
    : tileCandidates(gpu, product.transA, product.transB, product.b, product.m);
  const usable: MatmulTile[] = [];
  if (performance.now() < end) await gpu.prepare(await kernelsOf(gpu, key, product, tiles), signal);
  const proxies = gpu.profile.kind === "gpu" ? GPU_PROXIES : PROXIES;
  for (const proxy of proxies) {
    const trial = new Trial(gpu, key, product, proxy);
    try {
      if (usable.length === 0) {
        for (const tile of tiles) {
          signal?.throwIfAborted();
          if (usable.length > 0 && performance.now() > end) break;
          await trial.run(tile); // compiles
          usable.push(tile);
        }
      }
      if (usable.length < 2) return null;
      if (gpu.profile.kind === "gpu") await trial.repeat(usable[0]);
      const best = usable.map(() => Number.POSITIVE_INFINITY);
      for (let round = 0; round < ROUNDS; round++) {
        for (const [i, tile] of usable.entries()) {
          signal?.throwIfAborted();
          best[i] = Math.min(best[i], await trial.run(tile));
        }
      }
      const quickest = Math.min(...best);
      if (quickest >= WORTH_MS || proxy === proxies[proxies.length - 1])
        return usable[quickest <= CLEARLY * best[0] ? best.indexOf(quickest) : 0];
    } finally {
      trial.free();
    }
  }
  return null;
}

/** Compiles the candidates, several at once: compiling takes longer than measuring. */
async function kernelsOf(gpu: Gpu, key: string, product: Product, tiles: readonly MatmulTile[]): Promise<Kernel[]> {
  const fake = fakeGpu(gpu);
  const trial = new Trial(fake, key, product, gpu.profile.kind === "gpu" ? GPU_PROXIES[0] : PROXIES[0]);
  for (const tile of tiles) await trial.run(tile);
  return fake.programs.kernels;
}

/** Operands of one proxy product: zeros, which take a CPU as long as other values. */
class Trial {
  private readonly gpu: Gpu;
  private readonly key: string;
  private readonly product: Product;
  private readonly tensors: { a: Tensor; b: Tensor; c: Tensor };
  private readonly extra: { a2: Tensor; b2: Tensor } | null;
  private times = 1;

  constructor(gpu: Gpu, key: string, product: Product, proxy: { m: number; n: number; k: number }) {
    this.gpu = gpu;
    this.key = key;
    this.product = product;
    const { transA, transB } = product;
    const size = (want: number, most: number) => Math.max(8, Math.floor(Math.min(want, most) / 8) * 8); // vec4 loads
    const few = product.m <= FEW_ROWS;
    const m = few ? size(product.m, FEW_ROWS) : Math.max(FEW_ROWS + 8, size(product.m, proxy.m)); // stays the same kind
    const n = Math.max(m, size(product.n, few ? 4 * proxy.n : proxy.n)); // or matmul would transpose it
    const k = size(product.k, few ? 2 * proxy.k : proxy.k);
    const make = (shape: number[], dtype: StoredMatrix, label: string) =>
      gpu.persistent(shape, dtype, `tuning.${label}`, "scratch");
    const sides = transB ? [n, k] : [k, n];
    this.tensors = {
      a: make(transA ? [k, m] : [m, k], "f32", "a"),
      b: product.b === "f32" ? make(sides, "f32", "b") : gpu.frozen(sides, product.b, "tuning.b"),
      c: make([m, n], "f32", "c"),
    };
    const r = product.extra;
    this.extra = r > 0 ? { a2: make([m, r], "f32", "a2"), b2: make(transB ? [n, r] : [r, n], "f32", "b2") } : null;
  }

  /** Sets the number of repetitions, enough for a measurement with this tile. */
  async repeat(tile: MatmulTile): Promise<void> {
    for (;;) {
      const ms = this.times * (await this.run(tile));
      if (ms >= GPU_MS || this.times === MOST_REPEATS) return;
      const more = Math.min(16, (1.25 * GPU_MS) / Math.max(0.1, ms));
      this.times = Math.min(MOST_REPEATS, Math.ceil(this.times * Math.max(1.25, more)));
    }
  }

  /** @returns milliseconds per dispatch, including its share of a submission */
  async run(tile: MatmulTile): Promise<number> {
    const { gpu, key, product, tensors, extra, times } = this;
    const { transA, transB } = product;
    const before = gpu.tuning.get(key);
    const record = gpu.recorder();
    gpu.tuning.set(key, JSON.stringify(tile));
    try {
      const forced = gpu.profile.kind === "gpu" ? tile : undefined; // the proxy's size class may have another winner
      for (let i = 0; i < times; i++)
        matmul(record, tensors.a, tensors.b, { transA, transB, into: tensors.c, extra, tile: forced });
    } finally {
      if (before === undefined) gpu.tuning.delete(key);
      else gpu.tuning.set(key, before);
    }
    const start = performance.now();
    record.submit();
    await gpu.settle();
    return (performance.now() - start) / times;
  }

  free(): void {
    this.gpu.trim(); // textures with copies of operands
    this.gpu.drop(...Object.values(this.tensors), ...Object.values(this.extra ?? {}));
  }
}

/**
 * The kinds of products in a training step of a model.
 *
 * @param tokens of a micro-batch
 * @param dtype of the frozen projections
 * @param rank of LoRA; null for full training, with f32 weights and gradients
 * @param table dtype of the head, if different
 */
export function modelProducts(
  shapes: WeightShapes,
  tokens: number,
  dtype: StoredMatrix,
  rank: number | null,
  table: StoredMatrix = dtype,
): Product[] {
  const b = rank === null ? "f32" : dtype;
  const products: Product[] = [];
  const add = (kind: "nt" | "nn" | "tn", stored: StoredMatrix, [m, n, k]: [number, number, number], extra = 0) =>
    products.push({ transA: kind === "tn", transB: kind === "nt", b: stored, m, n, k, extra });
  for (const [out, into] of shapes.projections) {
    add("nt", b, [tokens, out, into], rank ?? 0); // y = x·Wᵀ
    add("nn", b, [tokens, into, out], rank ?? 0); // dx = dy·W
    if (rank === null) {
      add("tn", "f32", [out, into, tokens]); // dW = dyᵀ·x
      continue;
    }
    add("nt", "f32", [tokens, rank, into]); // h = x·Aᵀ
    add("nn", "f32", [tokens, rank, out]); // dh = dy·B
    add("tn", "f32", [out, rank, tokens]); // dB = dyᵀ·h
    add("tn", "f32", [rank, into, tokens]); // dA = dhᵀ·x
  }
  const head = rank === null ? "f32" : table;
  const [vocab, hidden] = shapes.head;
  add("nt", head, [tokens, vocab, hidden]); // the head's logits and their gradient
  add("nn", head, [tokens, hidden, vocab]);
  return products;
}

const KEY = /^matmul [nt]([nt]) (f32|f16|bf16|int8|nf4)( few| small| medium| large)?( high)?$/;

/** The measurements of this adapter as JSON, for a later `importTuning` on the same adapter. */
export function exportTuning(gpu: Gpu): string {
  const tiles = Object.fromEntries(
    [...gpu.tuning]
      .filter(([key]) => KEY.test(key))
      .sort(([x], [y]) => (x < y ? -1 : 1))
      .map(([key, tile]) => [key, JSON.parse(tile) as MatmulTile]),
  );
  return `${JSON.stringify({ version: 1, adapter: adapterOf(gpu), tiles }, null, 2)}\n`;
}

/**
 * Imports earlier measurements. Existing entries of `gpu.tuning` stay.
 *
 * @param text from `exportTuning`; any other text is ignored as a whole
 * @returns null, or the reason why nothing was imported
 */
export function importTuning(gpu: Gpu, text: string): string | null {
  let file: { version?: unknown; adapter?: unknown; tiles?: unknown } | null;
  try {
    file = parseBoundedJson(text) as typeof file;
  } catch (error) {
    return `Cannot read tuning: ${(error as Error).message}`;
  }
  if (file?.version !== 1)
    return `Cannot read tuning: its version is ${show(file?.version)}, but this program reads version 1`;
  if (file.adapter !== adapterOf(gpu)) {
    return `Cannot use tuning of adapter ${show(file.adapter)}: this adapter is ${show(adapterOf(gpu))}`;
  }
  const { tiles } = file;
  if (!isObject(tiles)) return "Cannot read tuning: it has no tiles";
  const found: [string, string][] = [];
  for (const [key, tile] of Object.entries(tiles)) {
    const form = KEY.exec(key);
    if (!form) return `Cannot read tuning: ${show(key)} is not a kind of product`;
    const fault = tileFault(gpu, tile, form[1] === "t");
    if (fault) return `Cannot use tuning of ${key}: ${fault}`;
    const { rows, cols, lanes, groups, stage, broadcast, steps, walk, matrix } = tile as MatmulTile;
    found.push([key, JSON.stringify({ rows, cols, lanes, groups, stage, broadcast, steps, walk, matrix })]);
  }
  for (const [key, tile] of found) if (!gpu.tuning.has(key)) gpu.tuning.set(key, tile);
  return null;
}

/** The adapter and its enabled features: the best tiles differ with and without subgroups or subgroup matrices. */
function adapterOf({ adapterName, profile, features: { matrix } }: Gpu): string {
  const kind = matrix ? `, matrices ${matrix.type} ${matrix.m}×${matrix.n}×${matrix.k}` : "";
  return `${adapterName}, subgroups of ${profile.subgroup?.size ?? 0}${kind}`;
}

/** What is wrong with a tile on this adapter, or null. */
function tileFault(gpu: Gpu, value: unknown, transB: boolean): string | null {
  if (value === null || typeof value !== "object") return `a tile must be an object, got ${show(value)}`;
  if ("matrix" in value) {
    const own = matrixTiles(gpu).some((tile) => JSON.stringify(tile) === JSON.stringify(value));
    return own ? null : `this device does not support the tile of subgroup matrices ${show(value)}`;
  }
  const { tiles, subgroup } = gpu.profile;
  const shared = tiles === "broadcast" ? (subgroup?.size ?? 0) : 0; // lanes that may share loads
  const tile = value as Record<Exclude<keyof MatmulTile, "matrix" | "compute">, number>;
  const rules: [keyof typeof tile, (n: number) => boolean, string][] = [
    ["rows", (n) => n >= 4 && n <= 32 && n % 4 === 0, "4, 8 … 32"],
    ["cols", (n) => n >= 1 && n <= 32 && (transB || n % 4 === 0), transB ? "1 to 32" : "4, 8 … 32"],
    ["lanes", (n) => n >= 1 && n <= 256, "1 to 256"],
    ["groups", (n) => n >= 1 && n <= 256, "1 to 256"],
    ["stage", (n) => n >= 0 && n <= 64 && n % 4 === 0, "0, 4, 8 … 64"],
    ["broadcast", (n) => n === 0 || n === shared, shared > 0 ? `0 or ${shared}` : "0"],
    ["steps", (n) => n === 4 || n === 8, "4 or 8"],
  ];
  if (tile.walk !== undefined) rules.push(["walk", (n) => n >= 1 && n <= 8, "absent, or 1 to 8"]);
  for (const [name, fits, rule] of rules) {
    if (!Number.isInteger(tile[name]) || !fits(tile[name])) return `${name} is ${show(tile[name])}; it must be ${rule}`;
  }
  const { rows, cols, lanes, groups, stage, broadcast } = tile;
  if (stage > 0 && cols % 4 > 0) return `cols is ${cols}; with staged operands it must be 4, 8, … or 32`;
  const threads = lanes * groups;
  const { maxComputeInvocationsPerWorkgroup: mostThreads, maxComputeWorkgroupStorageSize: mostBytes } = gpu.limits;
  if (threads > mostThreads) return `${threads} threads exceed this adapter's limit of ${mostThreads}`;
  const bytes = stage > 0 ? stagedBytes({ tile: value as MatmulTile }) : 0;
  if (bytes > mostBytes) return `${bytes} bytes of workgroup memory exceed this adapter's limit of ${mostBytes}`;
  if (broadcast > 0 && (rows % broadcast > 0 || lanes % broadcast > 0 || groups > 1 || stage > 0)) {
    return `with broadcast ${broadcast}, lanes must share loads of whole rows without workgroup memory`;
  }
  return null;
}
