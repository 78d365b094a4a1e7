import type { Points } from "./scale.ts";

/**
 * Exponential moving average without its bias to 0, as TensorBoard and Weights & Biases draw it:
 * m ← w·m + (1 − w)·y, divided by 1 − wⁿ after n points. A gap remains a gap.
 *
 * @param weight w, from 0 (no smoothing) to below 1
 */
export function smooth(points: Points, weight: number): Points {
  if (!(weight > 0)) return points;
  const w = Math.min(weight, 0.999);
  let [mean, share] = [0, 1];
  return points.map(([x, y]) => {
    if (!Number.isFinite(y)) return [x, y] as const;
    mean = w * mean + (1 - w) * y;
    share *= w;
    return [x, mean / (1 - share)] as const;
  });
}
