import {
  sampleGreedy as greedyShader,
  markSeen as markShader,
  sampleProbabilities as probabilitiesShader,
  sampleScores as scoresShader,
  TILE_STATE,
} from "../../../shaders/sample/sample.wgsl.ts";
import { samplePick as pickShader } from "../../../shaders/sample/sample-pick.wgsl.ts";
import { RecipeError, ShapeError } from "../../errors.ts";
import type { AdapterProfile } from "../../gpu/profile.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { sameShape, threadGrid, WORKGROUP } from "../grid.ts";
import { searchThresholds } from "./search.ts";

/** Ids and positions are stored as f32, which is exact for integers up to this. */
const MOST_IDS = 2 ** 24;
/** Limit for the scores of rows sampled together, in bytes. */
const SCORES_BYTES = 64 << 20;

/** Tokens of a vocabulary that one workgroup need not search alone. */
const LARGE = 4096;

/** Sampling settings, by transformers' names. */
export interface SampleSettings {
  /** > 0; logits are divided by it */
  temperature: number;
  /** number of tokens kept, plus ties with the last; 0 or the size of the vocabulary = off */
  top_k: number;
  /** keeps the smallest set of most likely tokens whose probabilities reach this; 1 = off */
  top_p: number;
  /** drops tokens less likely than this share of the most likely token's probability; 0 = off */
  min_p: number;
  /** > 0; divides positive and multiplies negative logits of seen tokens; 1 = off */
  repetition_penalty: number;
  /**
   * take the most likely token after the penalty (the lowest id of equals); other settings have no effect, as in
   * `do_sample=False`
   */
  greedy?: boolean;
}

/** A shard of the vocabulary's logits. */
interface LogitsShard {
  /** f32 `[rows, n]` */
  tensor: Tensor;
  /** the shard's first id in the whole vocabulary */
  start: number;
}

interface SampleOptions extends SampleSettings {
  /** number of tokens */
  vocab: number;
  /** u32 `[rows]`: separates the draws of different sequences */
  seeds: Tensor;
  /** u32 `[rows]`: separates the draws of one sequence */
  positions: Tensor;
  /**
   * u32 `[rows, seenWords(vocab)]`, a bit for each token of prompt and completion so far; required with a repetition
   * penalty
   */
  seen?: Tensor;
  /** also return the distribution, f32 `[rows, vocab]`, for checks */
  probabilities?: boolean;
  /** who finds the thresholds of top-k, top-p and min-p (default: `AdapterProfile.sampleSearch` for large vocabularies, else "row") */
  search?: AdapterProfile["sampleSearch"];
}

interface SampleResult {
  /** u32 `[rows]` */
  tokens: Tensor;
  /**
   * log-prob of each token under `log_softmax(logits / temperature)` over the whole vocabulary, nats, f32 `[rows]`:
   * before penalty, top-k, top-p and min-p, for comparison with a GRPO trainer's own; temperature 1 if greedy
   */
  logp: Tensor;
  /** f32 `[rows, vocab]`, if requested */
  probabilities?: Tensor;
}

/** u32 words per row of `seen`. */
export function seenWords(vocab: number): number {
  return Math.ceil(vocab / 32);
}

/**
 * Draws a token for each row of logits: repetition penalty, temperature, top-k, top-p and min-p as in transformers,
 * then the inverse of the cumulative distribution, in vocabulary order, at `uniform01(seed, position)`.
 *
 * A draw depends on the row's logits, seed and position, not on its index or the number of rows. Of equal logits at the
 * top-p threshold, the higher ids stay, as after a stable ascending sort. A row with a NaN returns some token of the
 * vocabulary and a NaN log-prob. Records one dispatch per shard and one or two more (repeated for each group of rows
 * whose scores exceed 64 MiB), on a GPU one to 17 more where thresholds must be found, and submits nothing.
 *
 * @param logits all shards of the vocabulary, in order
 * @throws {RecipeError} a setting outside its range
 * @throws {ShapeError} shards that do not cover the vocabulary, lengths that differ, a penalty without `seen`
 * @see shaders/sample/sample.wgsl.ts, shaders/sample/sample-pick.wgsl.ts, shaders/lib/random.ts, sampleReference
 */
export function sample(record: Recorder, logits: readonly LogitsShard[], options: SampleOptions): SampleResult {
  checkSettings(options);
  const { vocab, seeds, positions, seen } = options;
  const rows = logits[0]?.tensor.shape[0] ?? 0;
  checkShards(logits, rows, vocab);
  sameShape("sample", seeds, [rows]);
  sameShape("sample", positions, [rows]);
  const greedy = options.greedy ?? false;
  const penalty = options.repetition_penalty !== 1;
  if (penalty && !seen) throw new ShapeError("Cannot apply repetition_penalty: it needs the tokens seen so far");
  if (penalty) sameShape("sample", seen!, [rows, seenWords(vocab)]);
  const search = options.search ?? (vocab > LARGE ? record.gpu.profile.sampleSearch : "row");
  const { tile, threads, workgroup } = layoutOf(vocab, search);
  const tilesOf = (shard: LogitsShard) => Math.ceil(shard.tensor.shape[1] / tile);
  const tiles = logits.reduce((sum, shard) => sum + tilesOf(shard), 0);
  if (tiles * tile > MOST_IDS) {
    throw new ShapeError(
      `Cannot sample from ${vocab} tokens: at most ${MOST_IDS} are supported, in shards of whole tiles of ${tile}`,
    );
  }
  const { maxStorageBufferBindingSize, maxComputeWorkgroupsPerDimension } = record.gpu.limits;
  const fits = Math.floor(Math.min(SCORES_BYTES, maxStorageBufferBindingSize) / (4 * tiles * tile));
  const chunk = Math.max(1, Math.min(rows, fits, maxComputeWorkgroupsPerDimension));
  const words = seenWords(vocab);
  const bits: Record<string, Tensor> = penalty ? { seen: seen! } : {};
  const tuned = { penalty: options.repetition_penalty, inverseTemperature: greedy ? 1 : 1 / options.temperature };

  return record.scope(() => {
    const tokens = record.empty([rows], "u32", "sample.tokens");
    const logp = record.empty([rows], "f32", "sample.logp");
    const result: SampleResult = { tokens, logp };
    if (options.probabilities && !greedy) {
      result.probabilities = record.empty([rows, vocab], "f32", "sample.probabilities");
    }
    for (let first = 0; first < rows; first += chunk) {
      const count = Math.min(chunk, rows - first);
      record.scope(() => {
        const stats = record.empty([count, tiles, TILE_STATE], "f32", "sample.stats", "scratch");
        const scores = greedy ? null : record.empty([count, tiles * tile], "f32", "sample.scores", "scratch");
        let firstTile = 0;
        for (const shard of logits) {
          const cols = shard.tensor.shape[1];
          record.dispatch(
            scoresShader,
            { vector: cols % 4 === 0, penalty, greedy, tile, workgroup: threads },
            { logits: shard.tensor, ...bits, ...(scores ? { scores } : {}), stats },
            { first, cols, start: shard.start, firstTile, tiles, words, ...tuned },
            [tilesOf(shard), count],
          );
          firstTile += tilesOf(shard);
        }
        const params = { first, rows: count, tiles, vocab, words, ...tuned };
        if (!scores) {
          const bindings = { stats, ...bits, tokens, logp };
          record.dispatch(greedyShader, { penalty, workgroup: WORKGROUP }, bindings, params, threadGrid(count));
          return;
        }
        const kept = record.empty([count, 4], "f32", "sample.kept", "scratch");
        const { top_k, top_p, min_p } = options;
        const processors = { topK: top_k > 0 && top_k < vocab, topP: top_p < 1, minP: min_p > 0 };
        const limits = { topK: top_k, topP: top_p, logMinP: Math.log(min_p || 1) };
        const searched = search === "tiles" && Object.values(processors).some(Boolean);
        if (searched) searchThresholds(record, { scores, stats, kept }, { ...processors, params: limits, tile });
        record.dispatch(
          pickShader,
          { ...processors, searched, penalty, tile, workgroup },
          { scores, stats, seeds, positions, tokens, logp, kept, ...bits },
          { ...params, ...limits, tail: 1 - top_p },
          count,
        );
        if (!result.probabilities) return;
        const bindings = { scores, stats, kept, probabilities: result.probabilities };
        record.dispatch(probabilitiesShader, { tile, workgroup }, bindings, { first, tiles, vocab }, [tiles, count]);
      });
    }
    return result;
  });
}

/**
 * Marks each row's token as seen. Records one dispatch and submits nothing.
 *
 * @param seen u32 `[rows, words]`, one bit per token, lowest bit first; updated. Tokens beyond its end are ignored
 * @param tokens u32 `[rows]`
 */
export function markSeen(record: Recorder, seen: Tensor, tokens: Tensor): void {
  const [rows, words] = seen.shape;
  sameShape("mark tokens as seen", tokens, [rows]);
  record.dispatch(markShader, { workgroup: WORKGROUP }, { tokens, seen }, { rows, words }, threadGrid(rows));
}

/**
 * Scores per tile, threads per tile and threads per row: chosen so that a small vocabulary wastes few threads and
 * barriers. Where a row is searched by itself, on CPU adapters, a barrier costs time for every eight threads: of 16 rows of
 * 151,936, `sample_scores` took 0.74 ms a shard with 8 threads and 1.5 with 32, `sample_pick` 7.3 with 16 and 11.4 with 64.
 */
function layoutOf(vocab: number, search: AdapterProfile["sampleSearch"]) {
  if (vocab <= LARGE) return { tile: 128, threads: 8, workgroup: 8 };
  return { tile: 1024, ...(search === "row" ? { threads: 8, workgroup: 16 } : { threads: 32, workgroup: 64 }) };
}

function checkShards(logits: readonly LogitsShard[], rows: number, vocab: number): void {
  let end = 0;
  for (const { tensor, start } of logits) {
    sameShape("sample", tensor, [rows, tensor.shape[1]]);
    if (start !== end)
      throw new ShapeError(`Cannot sample: a shard of logits starts at ${start}; it must start at ${end}`);
    end += tensor.shape[1];
  }
  if (end !== vocab || vocab < 1) {
    throw new ShapeError(`Cannot sample from ${vocab} tokens: the shards of logits have ${end}`);
  }
}

/** @throws {RecipeError} `top_p must be between 0 and 1, got 1.5` */
function checkSettings(settings: SampleSettings): void {
  const { temperature, top_k, top_p, min_p, repetition_penalty, greedy } = settings;
  const positive = (name: string, value: number) => {
    if (!(value > 0 && Number.isFinite(value))) throw new RecipeError(`${name} must be a number above 0, got ${value}`);
  };
  const share = (name: string, value: number) => {
    if (!(value >= 0 && value <= 1)) throw new RecipeError(`${name} must be between 0 and 1, got ${value}`);
  };
  positive("repetition_penalty", repetition_penalty);
  if (greedy) return;
  positive("temperature", temperature);
  if (!Number.isInteger(top_k) || top_k < 0) throw new RecipeError(`top_k must be a whole number, got ${top_k}`);
  share("top_p", top_p);
  share("min_p", min_p);
}

/** The results of `sampleReference` for one row. */
interface SampleReference {
  /** `[vocab]`: the distribution after all processors; if greedy, 1 for one token */
  probabilities: Float64Array;
  /** the token that `uniform` draws */
  token: number;
  /** `[vocab]`: log-prob of each token, nats, before penalty, top-k, top-p and min-p */
  logps: Float64Array;
}

/**
 * The same for one row in float64 on the CPU, by sorting as transformers does.
 *
 * @param logits of the whole vocabulary
 * @param seen tokens of prompt and completion so far
 * @param uniform in [0, 1)
 */
export function sampleReference(
  logits: ArrayLike<number>,
  settings: SampleSettings,
  seen: Iterable<number>,
  uniform: number,
): SampleReference {
  const vocab = logits.length;
  const temperature = settings.greedy ? 1 : settings.temperature;
  const plain = Float64Array.from(logits, (v) => v / temperature);
  const z = Float64Array.from(logits);
  for (const id of new Set(seen)) {
    z[id] = z[id] < 0 ? z[id] * settings.repetition_penalty : z[id] / settings.repetition_penalty;
  }
  const largest = z.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const top = plain.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const logarithm = Math.log(plain.reduce((sum, v) => sum + Math.exp(v - top), 0));
  const logps = plain.map((v) => v - top - logarithm);
  if (settings.greedy) {
    const token = z.indexOf(largest);
    return { probabilities: Float64Array.from(z, (_, i) => (i === token ? 1 : 0)), token, logps };
  }
  for (let i = 0; i < vocab; i++) z[i] /= temperature;
  const drop = (i: number) => {
    z[i] = Number.NEGATIVE_INFINITY;
  };
  const ascending = () => Array.from(z.keys()).sort((a, b) => z[a] - z[b] || a - b);
  if (settings.top_k > 0 && settings.top_k < vocab) {
    const least = z[ascending()[vocab - settings.top_k]];
    z.forEach((v, i) => void (v < least && drop(i)));
  }
  if (settings.top_p < 1) {
    const p = softmax(z);
    let sum = 0;
    for (const i of ascending().slice(0, -1)) {
      sum += p[i];
      if (sum <= 1 - settings.top_p) drop(i);
    }
  }
  if (settings.min_p > 0) {
    const p = softmax(z);
    const least = settings.min_p * p.reduce((a, b) => Math.max(a, b));
    p.forEach((v, i) => void (v < least && drop(i)));
  }
  const probabilities = softmax(z);
  let token = 0;
  let sum = 0;
  for (let i = 0; i < vocab; i++) {
    if (probabilities[i] === 0) continue;
    token = i;
    sum += probabilities[i];
    if (sum > uniform) break;
  }
  return { probabilities, token, logps };
}

function softmax(z: Float64Array): Float64Array {
  const top = z.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const e = z.map((v) => Math.exp(v - top));
  const sum = e.reduce((a, b) => a + b);
  return e.map((v) => v / sum);
}
