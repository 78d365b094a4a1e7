import { DataError } from "../../errors.ts";

/** The scope of the rewards' standard deviation: TRL's `scale_rewards`. */
export type ScaleRewards = "group" | "batch" | "none";

/** How several rewards become one: TRL's `multi_objective_aggregation`. */
export type Aggregation = "sum_then_normalize" | "normalize_then_sum";

/** The rewards of a generation batch. */
export interface RewardMatrix {
  /** one name per function, used in metrics */
  names: readonly string[];
  /** `reward_weights`, one per function; null: 1 each */
  weights: readonly number[] | null;
  /** [functions][completions]; null if a function does not apply */
  rewards: readonly (readonly (number | null)[])[];
}

/** The advantages of a generation batch's completions. */
interface Advantages {
  /** [completions]; 0 if no function gave a reward */
  advantages: Float32Array;
  /** [completions] weighted sum of the rewards; null if no function gave a reward */
  rewards: (number | null)[];
  /**
   * reward, reward_std, frac_reward_zero_std, rewards/{name}/mean, rewards/{name}/std; without metrics that have no
   * value
   */
  metrics: Record<string, number>;
}

/** TRL adds this to the standard deviation before dividing. */
const EPSILON = 1e-4;
/** Standard deviations up to this count as zero: the absolute tolerance of torch.isclose. */
const NO_SPREAD = 1e-8;

/**
 * Group-relative advantages: `A = (r − mean_group) / (std + 1e-4)` with `r = Σ_k w_k·r_k`, null rewards skipped.
 *
 * Completions are ordered by group, `num_generations` per prompt. The standard deviation is unbiased (n − 1), over the
 * group, over the batch, or unused (`none`: A = r − mean_group). A completion that no function rewarded has advantage
 * 0 and counts in no mean. `reward_std` is the standard deviation of the whole batch.
 *
 * `normalize_then_sum` (GDPO): `r = Σ_k w_k·(r_k − mean_group)/(std_group + 1e-4)`, and A is r normalised over the batch.
 *
 * @throws {DataError} the number of completions is not a multiple of num_generations; rewards, weights and names differ
 *   in number; a reward or weight is not finite
 * @see Shao et al. 2024, arXiv:2402.03300; Liu et al. 2025, arXiv:2503.20783 (none); arXiv:2601.05242 (GDPO); TRL's GRPOTrainer
 */
export function groupAdvantages(
  matrix: RewardMatrix,
  options: { num_generations: number; scale_rewards: ScaleRewards; multi_objective_aggregation?: Aggregation },
): Advantages {
  const { num_generations, multi_objective_aggregation = "sum_then_normalize" } = options;
  const weights = checked(matrix, num_generations);
  const count = matrix.rewards[0].length;
  const rewards = weightedSum(matrix.rewards, weights);
  const batch = spread(rewards);
  const { advantages, flat } =
    multi_objective_aggregation === "normalize_then_sum"
      ? normalizeThenSum(matrix.rewards, weights, rewards, num_generations)
      : sumThenNormalize(rewards, batch, options);
  const metrics: Record<string, number> = {};
  // a mean of no values, or a standard deviation of fewer than two, is not logged
  const log = ({ mean, std, n }: Spread, name: string, spreadName: string) => {
    if (n > 0) metrics[name] = mean;
    if (std !== null) metrics[spreadName] = std;
  };
  matrix.names.forEach((name, k) => {
    log(spread(matrix.rewards[k]), `rewards/${name}/mean`, `rewards/${name}/std`);
  });
  log(batch, "reward", "reward_std");
  metrics.frac_reward_zero_std = flat / count;
  return { advantages, rewards, metrics };
}

/** Σ_k w_k·r_k of each completion, nulls skipped; null where there is nothing else. */
function weightedSum(rewards: readonly (readonly (number | null)[])[], weights: readonly number[]): (number | null)[] {
  return rewards[0].map((_, row) => {
    let sum: number | null = null;
    rewards.forEach((values, k) => {
      const value = values[row];
      if (value !== null) sum = (sum ?? 0) + weights[k] * value;
    });
    return sum;
  });
}

/** Advantages, and the number of completions whose spread is none. */
interface Scaled {
  advantages: Float32Array;
  flat: number;
}

function sumThenNormalize(
  rewards: readonly (number | null)[],
  batch: Spread,
  { num_generations, scale_rewards }: { num_generations: number; scale_rewards: ScaleRewards },
): Scaled {
  const count = rewards.length;
  const advantages = new Float32Array(count);
  let flat = 0;
  for (let start = 0; start < count; start += num_generations) {
    const group = rewards.slice(start, start + num_generations);
    const { mean, std } = spread(group);
    const [own, most] = scale_rewards === "batch" ? [batch.std, count] : [std, num_generations];
    const scale = most === 1 ? 0 : own;
    if (scale !== null && scale <= NO_SPREAD) flat += num_generations;
    group.forEach((reward, i) => {
      if (reward === null || scale === null) return; // fewer than two rewards have no standard deviation
      advantages[start + i] = scale_rewards === "none" ? reward - mean : (reward - mean) / (scale + EPSILON);
    });
  }
  return { advantages, flat };
}

/** @param sums null where no function gave a reward */
function normalizeThenSum(
  rewards: readonly (readonly (number | null)[])[],
  weights: readonly number[],
  sums: readonly (number | null)[],
  num_generations: number,
): Scaled {
  const normalized = rewards.map((values) => {
    const out: (number | null)[] = [];
    for (let start = 0; start < values.length; start += num_generations) {
      const group = values.slice(start, start + num_generations);
      const { mean, std } = spread(group);
      const scale = num_generations === 1 ? 0 : std;
      out.push(...group.map((v) => (v === null || scale === null ? null : (v - mean) / (scale + EPSILON))));
    }
    return out;
  });
  // a completion whose rewards have no spread to be measured by still has one: 0
  const totals = weightedSum(normalized, weights).map((sum, i) => (sums[i] === null ? null : (sum ?? 0)));
  const { mean, std } = spread(totals);
  const scale = totals.length === 1 ? 0 : std;
  const advantages = Float32Array.from(totals, (r) =>
    r === null || scale === null ? 0 : (r - mean) / (scale + EPSILON),
  );
  return { advantages, flat: scale !== null && scale <= NO_SPREAD ? totals.length : 0 };
}

function checked({ names, weights, rewards }: RewardMatrix, num_generations: number): readonly number[] {
  const count = rewards[0]?.length ?? 0;
  if (count === 0) throw new DataError("Cannot compute advantages: there are no rewards");
  if (!Number.isInteger(num_generations) || num_generations < 1 || count % num_generations !== 0) {
    throw new DataError(
      `Cannot compute advantages of ${count} completions in groups of num_generations ${num_generations}: the number of completions must be a multiple of it`,
    );
  }
  if (names.length !== rewards.length || (weights && weights.length !== rewards.length)) {
    throw new DataError(
      `Cannot weight ${rewards.length} reward functions with ${weights?.length ?? names.length} ${weights ? "reward_weights" : "names"}: each function needs one`,
    );
  }
  rewards.forEach((values, k) => {
    const bad = values.findIndex((value) => value !== null && !Number.isFinite(value));
    if (values.length !== count || bad >= 0) {
      throw new DataError(
        `Cannot compute advantages: ${names[k]} gave ${bad >= 0 ? `${values[bad]} for completion ${bad + 1}` : `${values.length} rewards for ${count} completions`}`,
      );
    }
  });
  const odd = weights?.find((w) => !Number.isFinite(w));
  if (odd !== undefined) throw new DataError(`Cannot weight rewards by ${odd}: reward_weights must be finite`);
  return weights ?? names.map(() => 1);
}

interface Spread {
  mean: number;
  /** null for fewer than two values */
  std: number | null;
  n: number;
}

/** Mean and unbiased standard deviation of the values that are not null. */
function spread(values: readonly (number | null)[]): Spread {
  const given = values.filter((v) => v !== null);
  const n = given.length;
  if (n === 0) return { mean: 0, std: null, n };
  const mean = given.reduce((a, b) => a + b, 0) / n;
  const squares = given.reduce((sum, v) => sum + (v - mean) ** 2, 0);
  return { mean, std: n > 1 ? Math.sqrt(squares / (n - 1)) : null, n };
}
