import type { PathCommand } from "opentype.js";

/** A point in pixels, y downwards. */
type Point = readonly [x: number, y: number];

/** Straight pieces of a curve: enough for letters of a hundred pixels. */
const PIECES = 8;

/** The outline's closed polygons, with its curves cut into lines, each point moved by `move`. */
export function polygonsOf(commands: readonly PathCommand[], move: (point: Point) => Point): Point[][] {
  const polygons: Point[][] = [];
  let here: Point = [0, 0];
  const add = (point: Point) => {
    here = point;
    polygons.at(-1)!.push(move(point));
  };
  for (const step of commands) {
    if (step.type === "Z") continue; // every polygon is closed
    if (step.type === "M") polygons.push([]);
    const [from, to]: [Point, Point] = [here, [step.x, step.y]];
    if (step.type === "M" || step.type === "L") {
      add(to);
      continue;
    }
    const points: Point[] = [from, [step.x1, step.y1], ...(step.type === "C" ? [[step.x2, step.y2] as const] : []), to];
    for (let piece = 1; piece <= PIECES; piece++) add(bezier(points, piece / PIECES));
  }
  return polygons;
}

/** De Casteljau's algorithm. */
function bezier(points: readonly Point[], t: number): Point {
  if (points.length === 1) return points[0];
  const between = points.slice(1).map(([x, y], i): Point => {
    const [a, b] = points[i];
    return [a + t * (x - a), b + t * (y - b)];
  });
  return bezier(between, t);
}

/**
 * The share of each pixel inside the polygons, exact for polygons that do not overlap: every edge adds the signed area to its
 * right, and sums along a line of pixels then give the coverage.
 *
 * @returns `[height, width]`, 0 … 1
 * @see font-rs, "Inside the fastest font renderer in the world"
 */
export function coverage(polygons: readonly (readonly Point[])[], width: number, height: number): Float32Array {
  const stride = width + 2;
  const areas = new Float64Array(stride * height);
  for (const points of polygons)
    for (const [i, point] of points.entries()) edge(areas, stride, point, points[(i + 1) % points.length]);
  const shares = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    let sum = 0;
    for (let x = 0; x < width; x++) {
      sum += areas[y * stride + x];
      shares[y * width + x] = Math.min(1, Math.abs(sum));
    }
  }
  return shares;
}

/** Adds one edge's areas, line by line and pixel by pixel. */
function edge(areas: Float64Array, stride: number, [x0, y0]: Point, [x1, y1]: Point): void {
  if (y0 === y1) return;
  const sign = y0 < y1 ? 1 : -1;
  const [top, bottom] = y0 < y1 ? [y0, y1] : [y1, y0];
  const slope = (x1 - x0) / (y1 - y0);
  const [widest, lines] = [stride - 2, areas.length / stride];
  for (let y = Math.max(0, Math.floor(top)); y < Math.min(lines, bottom); y++) {
    const [from, to] = [Math.max(top, y), Math.min(bottom, y + 1)];
    if (to <= from) continue;
    const ends = [x0 + (from - y0) * slope, x0 + (to - y0) * slope].map((x) => Math.min(Math.max(x, 0), widest));
    const [left, right] = [Math.min(...ends), Math.max(...ends)];
    const high = sign * (to - from);
    const last = Math.max(Math.floor(left) + 1, Math.ceil(right));
    // the share of the edge's height within each pixel, and where within the pixel it is in the middle
    for (let x = Math.floor(left); x < last; x++) {
      const [a, b] = [Math.max(left, x), Math.min(right, x + 1)];
      const part = right > left ? (high * (b - a)) / (right - left) : high;
      const middle = (a + b) / 2 - x;
      areas[y * stride + x] += part * (1 - middle);
      areas[y * stride + x + 1] += part * middle;
    }
  }
}
