/** 97.5th percentile of the normal distribution. */
const Z = 1.959963984540054;

/**
 * Wilson's 95 % interval of a share. It stays within 0 and 1, and has a width even at 0 or all.
 *
 * @param right successes, of `total` trials
 * @returns the whole range without trials
 * @see Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference
 */
export function wilson(right: number, total: number): { low: number; high: number } {
  if (!(total > 0)) return { low: 0, high: 1 };
  const share = right / total;
  const z2 = (Z * Z) / total;
  const centre = (share + z2 / 2) / (1 + z2);
  const half = (Z * Math.sqrt((share * (1 - share)) / total + z2 / (4 * total))) / (1 + z2);
  return { low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
}
