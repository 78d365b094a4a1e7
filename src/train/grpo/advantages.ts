import { DataError } from "../../errors.ts";

/** Over what rewards' spread is taken: TRL's `scale_rewards`. */
export type ScaleRewards = "group" | "batch" | "none";

/** What reward functions said of a generation batch. */
export interface RewardMatrix {
  /** one name a function; metrics carry them */
  names: readonly string[];
  /** `reward_weights`, one a function; null is 1 each */
  weights: readonly number[] | null;
  /** [functions][completions]; null where a function does not apply */
  rewards: readonly (readonly (number | null)[])[];
}

/** How every completion did against its group. */
interface Advantages {
  /** [completions]; 0 where no function gave a reward */
  advantages: Float32Array;
  /** [completions] weighted sum of the rewards; null where no function gave one */
  rewards: (number | null)[];
  /** reward, reward_std, frac_reward_zero_std, rewards/{name}/mean, rewards/{name}/std: those that have a value */
  metrics: Record<string, number>;
}

/** What TRL adds to the spread before it divides. */
const EPSILON = 1e-4;
/** Spreads up to here count as none: the absolute tolerance of torch.isclose. */
const NO_SPREAD = 1e-8;

/**
 * Group-relative advantages: `A = (r − mean_group) / (std + 1e-4)` with `r = Σ_k w_k·r_k`, null rewards skipped.
 *
 * Completions lie group by group, `num_generations` to a prompt. The standard deviation is unbiased (n − 1), over the
 * group, over the batch, or not taken (`none`: A = r − mean_group). A completion that no function rewarded has advantage
 * 0 and counts in no mean. `reward_std` is the spread of the whole batch.
 *
 * @throws {DataError} completions that are no multiple of num_generations; rewards, weights and names that differ in
 *   number; a reward or weight that is not finite
 * @see Shao et al. 2024, arXiv:2402.03300; Liu et al. 2025, arXiv:2503.20783 (none); TRL's GRPOTrainer
 */
export function groupAdvantages(
  matrix: RewardMatrix,
  { num_generations, scale_rewards }: { num_generations: number; scale_rewards: ScaleRewards },
): Advantages {
  const weights = checked(matrix, num_generations);
  const count = matrix.rewards[0].length;
  const rewards = Array.from({ length: count }, (_, row): number | null => {
    let sum: number | null = null;
    matrix.rewards.forEach((values, k) => {
      const value = values[row];
      if (value !== null) sum = (sum ?? 0) + weights[k] * value;
    });
    return sum;
  });
  const batch = spread(rewards);
  const advantages = new Float32Array(count);
  let flat = 0;
  for (let start = 0; start < count; start += num_generations) {
    const group = rewards.slice(start, start + num_generations);
    const { mean, std } = spread(group);
    const [own, most] = scale_rewards === "batch" ? [batch.std, count] : [std, num_generations];
    const scale = most === 1 ? 0 : own;
    if (scale !== null && scale <= NO_SPREAD) flat += num_generations;
    group.forEach((reward, i) => {
      if (reward === null || scale === null) return; // of fewer than two rewards nothing can be told
      advantages[start + i] = scale_rewards === "none" ? reward - mean : (reward - mean) / (scale + EPSILON);
    });
  }
  const metrics: Record<string, number> = {};
  // a mean of nothing, and a spread of fewer than two, are not logged
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

function checked({ names, weights, rewards }: RewardMatrix, num_generations: number): readonly number[] {
  const count = rewards[0]?.length ?? 0;
  if (count === 0) throw new DataError("Cannot take advantages of no rewards");
  if (!Number.isInteger(num_generations) || num_generations < 1 || count % num_generations !== 0) {
    throw new DataError(
      `Cannot take advantages of ${count} completions in groups of num_generations ${num_generations}: they must fill whole groups`,
    );
  }
  if (names.length !== rewards.length || (weights && weights.length !== rewards.length)) {
    throw new DataError(
      `Cannot weigh ${rewards.length} reward functions with ${weights?.length ?? names.length} ${weights ? "reward_weights" : "names"}: one each`,
    );
  }
  rewards.forEach((values, k) => {
    const bad = values.findIndex((value) => value !== null && !Number.isFinite(value));
    if (values.length !== count || bad >= 0) {
      throw new DataError(
        `Cannot take advantages: ${names[k]} gave ${bad >= 0 ? `${values[bad]} for completion ${bad + 1}` : `${values.length} rewards for ${count} completions`}`,
      );
    }
  });
  const odd = weights?.find((w) => !Number.isFinite(w));
  if (odd !== undefined) throw new DataError(`Cannot weigh rewards by ${odd}: reward_weights must be finite`);
  return weights ?? names.map(() => 1);
}

interface Spread {
  mean: number;
  /** null of fewer than two values */
  std: number | null;
  n: number;
}

/** Mean and unbiased standard deviation of what is not null. */
function spread(values: readonly (number | null)[]): Spread {
  const given = values.filter((v) => v !== null);
  const n = given.length;
  if (n === 0) return { mean: 0, std: null, n };
  const mean = given.reduce((a, b) => a + b, 0) / n;
  const squares = given.reduce((sum, v) => sum + (v - mean) ** 2, 0);
  return { mean, std: n > 1 ? Math.sqrt(squares / (n - 1)) : null, n };
}
