/** The leading part of a matrix's singular value decomposition: W ≈ Σ s_k·u_k·v_kᵀ. */
interface TopSingular {
  /** left vectors `[r, out]` */
  u: Float64Array;
  /** descending */
  s: Float64Array;
  /** right vectors `[r, inner]`; zeros where s is 0 */
  v: Float64Array;
}

/**
 * The r largest singular values of W `[out, inner]` and their vectors, in float64: from the eigenvectors of W·Wᵀ or Wᵀ·W,
 * whichever is smaller. Signs are arbitrary. Takes about `out·inner·n + 2·n³` operations, n = min(out, inner).
 *
 * @see Golub and Van Loan, Matrix Computations, sections 8.3 and 8.6
 */
export function topSingular(w: Float32Array, out: number, inner: number, r: number): TopSingular {
  const wide = out <= inner;
  const [n, m] = wide ? [out, inner] : [inner, out];
  const rows = wide ? Float64Array.from(w) : transposed(w, out, inner);
  const { values, vectors } = topEigen(gram(rows, n, m), n, r);
  const s = values.map((value) => Math.sqrt(Math.max(0, value)));
  const other = new Float64Array(r * m);
  for (let k = 0; k < r; k++) {
    const to = other.subarray(k * m, (k + 1) * m);
    for (let i = 0; i < n; i++) addScaled(to, rows.subarray(i * m, (i + 1) * m), vectors[k * n + i]);
    const norm = Math.sqrt(dot(to, to)); // = s, but without the error of the square root of a small eigenvalue
    s[k] = norm;
    for (let j = 0; j < m; j++) to[j] = norm > 0 ? to[j] / norm : 0;
  }
  return wide ? { u: vectors, s, v: other } : { u: other, s, v: vectors };
}

function transposed(w: Float32Array, rows: number, cols: number): Float64Array {
  const turned = new Float64Array(w.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) turned[j * rows + i] = w[i * cols + j];
  return turned;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

function addScaled(to: Float64Array, from: Float64Array, factor: number): void {
  for (let i = 0; i < to.length; i++) to[i] += factor * from[i];
}

/** R·Rᵀ of n rows of length m. Four products share each row that is read. */
function gram(rows: Float64Array, n: number, m: number): Float64Array {
  const g = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const a = i * m;
    for (let j = 0; j <= i; j += 4) {
      const last = (n - 1) * m;
      const [b, c, d, e] = [
        j * m,
        Math.min((j + 1) * m, last),
        Math.min((j + 2) * m, last),
        Math.min((j + 3) * m, last),
      ];
      let [p, q, s, t] = [0, 0, 0, 0];
      for (let k = 0; k < m; k++) {
        const x = rows[a + k];
        p += x * rows[b + k];
        q += x * rows[c + k];
        s += x * rows[d + k];
        t += x * rows[e + k];
      }
      [p, q, s, t].forEach((value, at) => {
        if (j + at > i) return;
        g[i * n + j + at] = value;
        g[(j + at) * n + i] = value;
      });
    }
  }
  return g;
}

/** The r largest eigenvalues of a symmetric matrix `[n, n]`, descending, and their vectors `[r, n]`. Overwrites the matrix. */
export function topEigen(a: Float64Array, n: number, r: number): { values: Float64Array; vectors: Float64Array } {
  const { diagonal, beside, reflectors, factors } = tridiagonal(a, n);
  const turns = diagonalize(diagonal, beside);
  const order = Array.from(diagonal.keys()).sort((i, j) => diagonal[j] - diagonal[i]);
  const vectors = new Float64Array(r * n);
  for (let k = 0; k < r; k++) {
    const vector = vectors.subarray(k * n, (k + 1) * n);
    vector[order[k]] = 1;
    for (let t = turns.length - 3; t >= 0; t -= 3) {
      const [i, c, s] = [turns[t], turns[t + 1], turns[t + 2]];
      const [low, high] = [vector[i], vector[i + 1]];
      vector[i] = c * low + s * high;
      vector[i + 1] = c * high - s * low;
    }
    for (let h = n - 3; h >= 0; h--) {
      const reflector = reflectors[h];
      if (!reflector) continue;
      const rest = vector.subarray(h + 1);
      addScaled(rest, reflector, -factors[h] * dot(reflector, rest));
    }
  }
  return { values: Float64Array.from({ length: r }, (_, k) => diagonal[order[k]]), vectors };
}

/** Householder's reduction: A = H·T·Hᵀ with the reflections H_k = I − factor·v·vᵀ, v over entries k + 1 …. */
function tridiagonal(a: Float64Array, n: number) {
  const [diagonal, beside, factors] = [new Float64Array(n), new Float64Array(n), new Float64Array(n)];
  const reflectors: (Float64Array | null)[] = [];
  for (let k = 0; k + 2 < n; k++) {
    const size = n - k - 1;
    const v = Float64Array.from({ length: size }, (_, i) => a[(k + 1 + i) * n + k]);
    const norm = Math.sqrt(dot(v, v));
    diagonal[k] = a[k * n + k];
    beside[k] = v[0] > 0 ? -norm : norm;
    v[0] -= beside[k];
    const length = dot(v, v);
    reflectors.push(length > 0 ? v : null);
    if (!(length > 0)) continue;
    const factor = 2 / length;
    factors[k] = factor;
    const rows = Array.from({ length: size }, (_, i) => a.subarray((k + 1 + i) * n + k + 1, (k + 2 + i) * n));
    const p = Float64Array.from(rows, (row) => factor * dot(row, v));
    addScaled(p, v, -0.5 * factor * dot(p, v));
    rows.forEach((row, i) => {
      const [x, y] = [v[i], p[i]];
      for (let j = 0; j < size; j++) row[j] -= x * p[j] + y * v[j];
    });
  }
  for (let k = Math.max(0, n - 2); k < n; k++) diagonal[k] = a[k * n + k];
  if (n > 1) beside[n - 2] = a[(n - 1) * n + n - 2];
  return { diagonal, beside, reflectors, factors };
}

/** Sweeps for one eigenvalue; it takes about two. */
const MOST_SWEEPS = 60;

/**
 * Eigenvalues of a tridiagonal matrix, in place, by QL with implicit shifts. @param beside entries (i, i + 1); overwritten
 * @returns the rotations as triples (i, cosine, sine), in order
 */
function diagonalize(diagonal: Float64Array, beside: Float64Array): number[] {
  const n = diagonal.length;
  const turns: number[] = [];
  for (let first = 0; first < n; first++) {
    for (let sweep = 0; sweep < MOST_SWEEPS; sweep++) {
      let end = first;
      while (end + 1 < n) {
        const size = Math.abs(diagonal[end]) + Math.abs(diagonal[end + 1]);
        if (Math.abs(beside[end]) <= Number.EPSILON * size) break;
        end++;
      }
      if (end === first) break;
      const g = (diagonal[first + 1] - diagonal[first]) / (2 * beside[first]);
      const root = Math.sqrt(g * g + 1);
      let shift = diagonal[end] - diagonal[first] + beside[first] / (g + (g >= 0 ? root : -root));
      let [sine, cosine, carried] = [1, 1, 0];
      let i = end - 1;
      for (; i >= first; i--) {
        const [f, b] = [sine * beside[i], cosine * beside[i]];
        const length = Math.sqrt(f * f + shift * shift);
        beside[i + 1] = length;
        if (length === 0) break;
        [sine, cosine] = [f / length, shift / length];
        const before = diagonal[i + 1] - carried;
        const turn = (diagonal[i] - before) * sine + 2 * cosine * b;
        carried = sine * turn;
        diagonal[i + 1] = before + carried;
        shift = cosine * turn - b;
        turns.push(i, cosine, sine);
      }
      if (i >= first) {
        diagonal[i + 1] -= carried; // the matrix splits here
        beside[end] = 0;
        continue;
      }
      diagonal[first] -= carried;
      beside[first] = shift;
      beside[end] = 0;
    }
  }
  return turns;
}
