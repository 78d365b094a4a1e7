import { DataError } from "../errors.ts";

export type SamplingStrategy = "random" | "sequential" | "group_by_length";

interface SamplerOptions {
  /** tokens of each row; required by `group_by_length` */
  lengths?: readonly number[];
  /** rows per batch; `group_by_length` sorts within 50 batches, as transformers does */
  batch_size?: number;
}

/**
 * A stream of uniform 32-bit integers that depends only on (seed, stream): SplitMix32, a counter hashed by two
 * multiply-xorshift rounds. No state needs saving: a resumed run recreates the epoch's order and skips to its position.
 *
 * @see Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195; constants of Wellons' "lowbias32"
 */
export function splitmix32(seed: number, stream: number): () => number {
  let counter = hash32(seed ^ hash32(Math.floor(seed / 2 ** 32) ^ hash32(stream + 0x9e3779b9)));
  return () => {
    counter = (counter + 0x9e3779b9) | 0;
    return hash32(counter);
  };
}

function hash32(x: number): number {
  x ^= x >>> 16;
  x = Math.imul(x, 0x7feb352d);
  x ^= x >>> 15;
  x = Math.imul(x, 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/**
 * The order in which epoch `epoch` visits `n` rows: a permutation of 0 … n−1 that depends only on the arguments.
 *
 * - `random`: Fisher-Yates shuffle.
 * - `sequential`: in file order.
 * - `group_by_length`: shuffled, then sorted by descending length within chunks of 50 batches, so that the rows of a
 *   batch have similar lengths; the longest row comes first, so that a lack of memory shows at once.
 *
 * @param epoch from 0
 * @throws {DataError} a count, epoch or seed that is not a whole number; `group_by_length` without lengths
 */
export function epochOrder(
  n: number,
  epoch: number,
  seed: number,
  strategy: SamplingStrategy = "random",
  options: SamplerOptions = {},
): Uint32Array {
  for (const [name, value, least] of [
    ["number of rows", n, 0],
    ["epoch", epoch, 0],
    ["seed", seed, -Infinity],
  ] as const) {
    if (!Number.isSafeInteger(value) || value < least) {
      throw new DataError(`Cannot order the rows: the ${name} must be a whole number, not ${value}`);
    }
  }
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  if (strategy === "sequential") return order;
  const next = splitmix32(seed, epoch);
  for (let i = n - 1; i > 0; i--) {
    const j = below(i + 1, next);
    const swap = order[i]!;
    order[i] = order[j]!;
    order[j] = swap;
  }
  return strategy === "group_by_length" ? groupByLength(order, options) : order;
}

/** A uniform integer in [0, n): values past the last multiple of n are drawn again, to avoid a bias. */
function below(n: number, next: () => number): number {
  const fair = 2 ** 32 - (2 ** 32 % n);
  let value = next();
  while (value >= fair) value = next();
  return value % n;
}

function groupByLength(order: Uint32Array, { lengths, batch_size = 1 }: SamplerOptions): Uint32Array {
  if (!lengths || lengths.length !== order.length) {
    throw new DataError(
      `group_by_length needs the length of each of ${order.length} rows, but got ${lengths?.length ?? 0}`,
    );
  }
  const chunk = Math.max(1, 50 * batch_size);
  for (let start = 0; start < order.length; start += chunk) {
    order.subarray(start, start + chunk).sort((a, b) => lengths[b]! - lengths[a]! || a - b);
  }
  let longest = 0;
  for (let i = 1; i < order.length; i++) if (lengths[order[i]!]! > lengths[order[longest]!]!) longest = i;
  // Each chunk begins with its longest row: swapping two of these keeps the chunks sorted except at one place.
  if (order.length > 0) [order[0], order[longest]] = [order[longest]!, order[0]!];
  return order;
}
