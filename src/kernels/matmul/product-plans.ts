import type { GpuContext } from "../../gpu/context.ts";
import type { Plan } from "../../gpu/plan.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import { type DType, sizeOf, type Tensor } from "../../gpu/tensor.ts";
import type { Product } from "./product-spec.ts";

// A step has hundreds of products of few shapes. How one is computed (form, variant, parameters, dispatches) is worked out
// once for each shape: the key is every number that it depends on, and nothing else of a product differs.

const DTYPES: Readonly<Record<DType, number>> = { f32: 1, f16: 2, bf16: 3, u32: 4, i32: 5, u8: 6, int8: 7, nf4: 8 };
const DROPPED = { a: 1, b: 2, extra: 3 } as const;
const EPILOGUES = { rotary: 1, swiglu: 2, bf16: 3 } as const;
/** Numbers of a key at most: 3 parts and their 10 each, and the rest. */
const MOST = 96;

/** Fields of a product that the key has. One that it lacks is a type error here. */
const KEYED = {
  ...{ split: true, a: true, b: true, c: true, transA: true, transB: true, lda: true, ldb: true, rowStride: true },
  ...{
    colStride: true,
    parts: true,
    shared: true,
    low: true,
    bias: true,
    dropout: true,
    alpha: true,
    accumulate: true,
  },
  ...{ epilogue: true },
} satisfies Record<Exclude<keyof Product, "tile">, true>;
void KEYED;

interface Known {
  readonly key: Float64Array;
  /** null: the product cannot be planned */
  readonly plan: Plan | null;
}

/** Plans of an adapter's products. */
class Plans {
  /** state of the adapter that the plans belong to */
  tuned = -1;
  precision = "";
  readonly byHash = new Map<number, Known[]>();
}

const all = new WeakMap<GpuContext, Plans>();

// of the product being recorded: products are recorded one at a time
const key = new Float64Array(MOST);
const tensors: (Tensor | null)[] = [];
const seeds: number[] = [];
let length = 0;

/** Records a product as one of the same shape was recorded, or by `whole`, which is then noted. */
export function recordPlanned(
  record: Recorder,
  product: Product,
  whole: (record: Recorder, product: Product) => void,
): void {
  const { gpu } = record;
  if (product.tile || gpu.profile.operands === "textures" || record.planning || !noteProduct(product)) {
    whole(record, product);
    return;
  }
  const { byHash } = plansOf(gpu);
  const hash = hashOf();
  let same = byHash.get(hash);
  if (!same) byHash.set(hash, (same = []));
  const known = same.find((one) => equals(one.key));
  if (!known) {
    const own = key.slice(0, length);
    const body = () => {
      whole(record, product);
      return [];
    };
    same.push({ key: own, plan: record.plan([...tensors], [...seeds], body) });
  } else if (known.plan) record.follow(known.plan, tensors, seeds);
  else whole(record, product);
}

function plansOf(gpu: GpuContext): Plans {
  let plans = all.get(gpu);
  if (!plans) all.set(gpu, (plans = new Plans()));
  if (plans.tuned !== gpu.tuning.version || plans.precision !== gpu.precision) {
    plans.byHash.clear();
    plans.tuned = gpu.tuning.version;
    plans.precision = gpu.precision;
  }
  return plans;
}

/** Writes the key, the tensors and the seeds of a product. @returns false: it has too many parts */
function noteProduct(product: Product): boolean {
  const { parts, low, dropout, epilogue, split } = product;
  if (parts.length > 3) return false;
  length = 0;
  tensors.length = 0;
  seeds.length = 0;
  const rotary = epilogue?.kind === "rotary" ? epilogue : null;
  tensor(product.a);
  tensor(product.b);
  tensor(product.c);
  tensor(low?.a2 ?? null);
  tensor(low?.b2 ?? null);
  tensor(product.bias ?? null);
  tensor(rotary?.positions ?? null);
  tensor(rotary?.table ?? null);
  const flags =
    (product.transA ? 1 : 0) + (product.transB ? 2 : 0) + (product.shared ? 4 : 0) + (product.accumulate ? 8 : 0);
  put(
    flags +
      16 * (epilogue ? EPILOGUES[epilogue.kind] : 0) +
      64 * (dropout ? DROPPED[dropout.on] : 0) +
      256 * parts.length,
  );
  put(product.lda);
  put(product.ldb);
  put(product.rowStride);
  put(product.colStride);
  put(product.alpha ?? 1);
  put(low?.lda2 ?? 0);
  put(split?.steps ?? 0);
  put(split?.count ?? 0);
  put(rotary?.headDim ?? 0);
  if (dropout) {
    put(dropout.p);
    put(dropout.cols);
    put(dropout.row ?? 0);
  }
  if (epilogue?.kind === "swiglu") {
    for (const { r, a2At, b2At } of epilogue.low) {
      put(r);
      put(a2At);
      put(b2At);
    }
  }
  for (const part of parts) {
    put(part.m);
    put(part.n);
    put(part.k);
    put(part.r ?? 0);
    put(part.aAt ?? 0);
    put(part.bAt ?? 0);
    put(part.cAt ?? 0);
    put(part.a2At ?? 0);
    put(part.b2At ?? 0);
    put(part.biasAt ?? 0);
    if (part.seed !== undefined) seeds.push(part.seed);
  }
  put(seeds.length);
  return true;
}

function put(value: number): void {
  key[length++] = value;
}

/** A tensor by type and size, and by which one before it is the same. */
function tensor(one: Tensor | null): void {
  const at = one ? tensors.indexOf(one) : -1;
  put(one ? 64 * (at + 1) + DTYPES[one.dtype] : 0);
  if (one) put(sizeOf(one.shape));
  tensors.push(one);
}

function hashOf(): number {
  let hash = length;
  for (let i = 0; i < length; i++) hash = Math.imul(hash ^ key[i], 0x01000193) ^ (hash >>> 15);
  return hash;
}

function equals(other: Float64Array): boolean {
  if (other.length !== length) return false;
  for (let i = 0; i < length; i++) if (other[i] !== key[i]) return false;
  return true;
}
