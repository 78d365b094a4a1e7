/** Elements that share one absmax. */
export const BLOCK = 256;

/**
 * The 256 values of bitsandbytes' dynamic 8-bit type, ascending; a code is an index into them.
 *
 * For i = 0 … 6: the midpoints of n equal bins of [0.1, 1], times 10^(i−6), with n = 2ⁱ for each sign, or 2^(i+1) if
 * `signed` is false; plus 0 and 1. A stored value is divided by the largest magnitude of its block.
 *
 * @see bitsandbytes create_dynamic_map, Dettmers et al. 2022, arXiv:2110.02861
 */
export function dynamicMap(signed: boolean): Float64Array {
  const values = [0, 1];
  for (let i = 0; i < 7; i++) {
    const bins = 2 ** (signed ? i : i + 1);
    for (let bin = 0; bin < bins; bin++) {
      const value = 10 ** (i - 6) * (0.1 + (0.9 * (bin + 0.5)) / bins);
      values.push(value);
      if (signed) values.push(-value);
    }
  }
  return Float64Array.from(values).sort();
}

/** The code of the nearest value of a map; ties go to the lower code. */
export function nearestCode(map: Float64Array, value: number): number {
  let [low, high] = [0, map.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (map[middle] <= value) low = middle;
    else high = middle;
  }
  return value - map[low] <= map[high] - value ? low : high;
}

/** Codes and the largest magnitude of each block of 256; a block of zeros keeps 0. The length is a multiple of 256. */
export function quantizeBlocks(values: Float64Array, signed: boolean): { codes: Uint8Array; absmax: Float64Array } {
  const map = dynamicMap(signed);
  const codes = new Uint8Array(values.length);
  const absmax = new Float64Array(values.length / BLOCK);
  for (let block = 0; block < absmax.length; block++) {
    const slice = values.subarray(block * BLOCK, (block + 1) * BLOCK);
    const largest = slice.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    absmax[block] = largest;
    slice.forEach((v, i) => {
      codes[block * BLOCK + i] = nearestCode(map, largest > 0 ? v / largest : 0);
    });
  }
  return { codes, absmax };
}

/** The inverse of `quantizeBlocks`, except for rounding. */
export function dequantizeBlocks(codes: Uint8Array, absmax: ArrayLike<number>, signed: boolean): Float64Array {
  const map = dynamicMap(signed);
  return Float64Array.from(codes, (code, i) => map[code] * absmax[Math.floor(i / BLOCK)]);
}
