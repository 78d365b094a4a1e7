import { childrenOf, type Expression } from "./expression.ts";

type Matrix = readonly (readonly Expression[])[];

/** Most nodes in the entries of a product: products of products would grow without limit. */
const MAX_NODES = 4000;

/** The matrix value of an expression: explicit, scaled, added or multiplied. Else null. */
export function asMatrix(e: Expression): Matrix | null {
  switch (e.kind) {
    case "matrix":
      return e.rows;
    case "negative": {
      const inner = asMatrix(e.arg);
      return inner && eachEntry(inner, (entry) => ({ kind: "negative", arg: entry }));
    }
    case "quotient": {
      const inner = asMatrix(e.dividend);
      if (!inner || asMatrix(e.divisor)) return null;
      return eachEntry(inner, (dividend) => ({ kind: "quotient", dividend, divisor: e.divisor }));
    }
    case "sum":
      return e.terms.map(asMatrix).reduce((a, b) => a && b && plus(a, b));
    case "product": {
      let result: Matrix | null = null;
      const factors: Expression[] = [];
      for (const factor of e.factors) {
        const own = asMatrix(factor);
        if (!own) factors.push(factor);
        else if (!result) result = own;
        else result = times(result, own);
        if (own && !result) return null;
      }
      if (!result || factors.length === 0) return result;
      return eachEntry(result, (entry) => ({ kind: "product", factors: [...factors, entry] }));
    }
    default:
      return null;
  }
}

function eachEntry(matrix: Matrix, map: (entry: Expression) => Expression): Matrix {
  return matrix.map((row) => row.map(map));
}

function plus(a: Matrix, b: Matrix): Matrix | null {
  if (a.length !== b.length || a[0].length !== b[0].length) return null;
  return a.map((row, i) => row.map((entry, j): Expression => ({ kind: "sum", terms: [entry, b[i][j]] })));
}

function times(a: Matrix, b: Matrix): Matrix | null {
  if (a[0].length !== b.length) return null;
  const nodes = countUpTo(a.flat(), MAX_NODES) * b[0].length + countUpTo(b.flat(), MAX_NODES) * a.length;
  if (nodes > MAX_NODES) return null;
  return a.map((row) =>
    b[0].map((_, j): Expression => {
      const terms = row.map((entry, k): Expression => ({ kind: "product", factors: [entry, b[k][j]] }));
      return { kind: "sum", terms };
    }),
  );
}

function countUpTo(entries: readonly Expression[], limit: number): number {
  let count = 0;
  const visit = (e: Expression): void => {
    if (++count <= limit) for (const child of childrenOf(e)) visit(child);
  };
  for (const entry of entries) visit(entry);
  return count;
}
