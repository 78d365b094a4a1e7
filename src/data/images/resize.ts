import type { Pixels } from "./pixels.ts";

/** Keys' cubic kernel with a = −½, as Pillow and torch have it; it reaches two pixels far. */
function cubic(distance: number): number {
  const x = Math.abs(distance);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/** Bits of a weight after the point: sums of 255 times weights of −1 to 2 fit 32 bits. */
const BITS = 22;

/** The pixels of a line that make each pixel of a resized line, and their weights in fixed point. */
interface Taps {
  first: Int32Array;
  count: Int32Array;
  /** [size, most] */
  weights: Int32Array;
  most: number;
}

/** @see Pillow's Resample.c, precompute_coeffs and normalize_coeffs_8bpc */
function tapsOf(from: number, to: number): Taps {
  const scale = from / to;
  const stretch = Math.max(1, scale); // shrinking, the kernel grows: antialiasing
  const support = 2 * stretch;
  const most = 2 * Math.ceil(support) + 1;
  const taps = { first: new Int32Array(to), count: new Int32Array(to), weights: new Int32Array(to * most), most };
  for (let x = 0; x < to; x++) {
    const center = (x + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const count = Math.min(from, Math.trunc(center + support + 0.5)) - first;
    const plain = Array.from({ length: count }, (_, i) => cubic((i + first - center + 0.5) / stretch));
    const total = plain.reduce((sum, weight) => sum + weight, 0);
    plain.forEach((weight, i) => {
      const fixed = (weight / total) * 2 ** BITS;
      taps.weights[x * most + i] = Math.trunc(fixed + (weight < 0 ? -0.5 : 0.5));
    });
    taps.first[x] = first;
    taps.count[x] = count;
  }
  return taps;
}

/** Resizes lines of pixels that are `step` bytes apart, `lines` of them, `apart` bytes from each other. */
function pass(
  data: Uint8Array,
  made: Uint8Array,
  { first, count, weights, most }: Taps,
  { lines, from, to }: { lines: number; from: [apart: number, step: number]; to: [apart: number, step: number] },
): void {
  const size = first.length;
  for (let line = 0; line < lines; line++) {
    for (let x = 0; x < size; x++) {
      const start = line * from[0] + first[x] * from[1];
      let [r, g, b] = [1 << (BITS - 1), 1 << (BITS - 1), 1 << (BITS - 1)];
      for (let i = 0, at = start; i < count[x]; i++, at += from[1]) {
        const weight = weights[x * most + i];
        r += data[at] * weight;
        g += data[at + 1] * weight;
        b += data[at + 2] * weight;
      }
      const place = line * to[0] + x * to[1];
      made[place] = clip(r);
      made[place + 1] = clip(g);
      made[place + 2] = clip(b);
    }
  }
}

const clip = (sum: number) => Math.min(255, Math.max(0, sum >> BITS));

/**
 * Resizes by cubic interpolation with antialiasing, first along rows, then along columns, each rounded to bytes: the same
 * bytes as Pillow's `resize((width, height), BICUBIC)`.
 */
export function resizeBicubic(image: Pixels, width: number, height: number): Pixels {
  let { data } = image;
  if (width !== image.width) {
    const made = new Uint8Array(3 * width * image.height);
    const lines = { lines: image.height, from: [3 * image.width, 3], to: [3 * width, 3] } as const;
    pass(data, made, tapsOf(image.width, width), { ...lines, from: [...lines.from], to: [...lines.to] });
    data = made;
  }
  if (height !== image.height) {
    const made = new Uint8Array(3 * width * height);
    pass(data, made, tapsOf(image.height, height), { lines: width, from: [3, 3 * width], to: [3, 3 * width] });
    data = made;
  }
  return { width, height, data };
}
