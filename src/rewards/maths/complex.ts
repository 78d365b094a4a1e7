/** A complex number. */
export interface Complex {
  readonly re: number;
  readonly im: number;
}

export const complex = (re: number, im = 0): Complex => ({ re, im });
export const isReal = ({ im }: Complex): boolean => im === 0;
export const modulus = ({ re, im }: Complex): number => (im === 0 ? Math.abs(re) : Math.hypot(re, im));
export const isDefined = ({ re, im }: Complex): boolean => Number.isFinite(re) && Number.isFinite(im);

export const add = (a: Complex, b: Complex): Complex => ({ re: a.re + b.re, im: a.im + b.im });
export const subtract = (a: Complex, b: Complex): Complex => ({ re: a.re - b.re, im: a.im - b.im });
export const negate = (a: Complex): Complex => ({ re: -a.re, im: a.im === 0 ? 0 : -a.im });
export const scale = (a: Complex, by: number): Complex => ({ re: a.re * by, im: a.im === 0 ? 0 : a.im * by });

export function multiply(a: Complex, b: Complex): Complex {
  if (a.im === 0) return scale(b, a.re);
  if (b.im === 0) return scale(a, b.re);
  return { re: a.re * b.re - a.im * b.im, im: a.re * b.im + a.im * b.re };
}

export function divide(a: Complex, b: Complex): Complex {
  if (b.im === 0) return { re: a.re / b.re, im: a.im === 0 ? 0 : a.im / b.re };
  const norm = b.re * b.re + b.im * b.im;
  return { re: (a.re * b.re + a.im * b.im) / norm, im: (a.im * b.re - a.re * b.im) / norm };
}

export function exp(a: Complex): Complex {
  const size = Math.exp(a.re);
  return a.im === 0 ? complex(size) : { re: size * Math.cos(a.im), im: size * Math.sin(a.im) };
}

/** The principal logarithm. */
export function log(a: Complex): Complex {
  if (a.im === 0 && a.re > 0) return complex(Math.log(a.re));
  return { re: Math.log(modulus(a)), im: Math.atan2(a.im, a.re) };
}

export function sqrt(a: Complex): Complex {
  if (a.im === 0) return a.re >= 0 ? complex(Math.sqrt(a.re)) : complex(0, Math.sqrt(-a.re));
  const size = modulus(a);
  const re = Math.sqrt((size + a.re) / 2);
  const im = Math.sqrt((size - a.re) / 2);
  return { re, im: a.im < 0 ? -im : im };
}

/** The principal power. */
export function power(a: Complex, b: Complex): Complex {
  if (b.im === 0 && Number.isInteger(b.re) && Math.abs(b.re) <= 64) return wholePower(a, b.re);
  if (a.im === 0 && b.im === 0 && (a.re > 0 || Number.isInteger(b.re))) return complex(a.re ** b.re);
  if (a.re === 0 && a.im === 0) return complex(b.re > 0 ? 0 : Number.NaN);
  return exp(multiply(b, log(a)));
}

function wholePower(a: Complex, n: number): Complex {
  if (a.im === 0) return complex(a.re ** n);
  let result = complex(1);
  let factor = a;
  for (let left = Math.abs(n); left > 0; left >>= 1) {
    if (left & 1) result = multiply(result, factor);
    factor = multiply(factor, factor);
  }
  return n < 0 ? divide(complex(1), result) : result;
}

export function sin(a: Complex): Complex {
  if (a.im === 0) return complex(Math.sin(a.re));
  return { re: Math.sin(a.re) * Math.cosh(a.im), im: Math.cos(a.re) * Math.sinh(a.im) };
}

export function cos(a: Complex): Complex {
  if (a.im === 0) return complex(Math.cos(a.re));
  return { re: Math.cos(a.re) * Math.cosh(a.im), im: -Math.sin(a.re) * Math.sinh(a.im) };
}

export const sinh = (a: Complex): Complex => scale(subtract(exp(a), exp(negate(a))), 0.5);
export const cosh = (a: Complex): Complex => scale(add(exp(a), exp(negate(a))), 0.5);

const I = complex(0, 1);
const ONE = complex(1);

export function asin(a: Complex): Complex {
  if (a.im === 0 && Math.abs(a.re) <= 1) return complex(Math.asin(a.re));
  const inner = add(multiply(I, a), sqrt(subtract(ONE, multiply(a, a))));
  return multiply(complex(0, -1), log(inner));
}

export const acos = (a: Complex): Complex =>
  a.im === 0 && Math.abs(a.re) <= 1 ? complex(Math.acos(a.re)) : subtract(complex(Math.PI / 2), asin(a));

export function atan(a: Complex): Complex {
  if (a.im === 0) return complex(Math.atan(a.re));
  const ratio = divide(add(I, a), subtract(I, a));
  return multiply(complex(0, 0.5), log(ratio));
}

/** Γ(x+1) of a real number, by Lanczos' sum (g = 7, n = 9), to about 1e-14. */
export function factorial(x: number): number {
  if (Number.isInteger(x)) {
    if (x < 0) return Number.NaN;
    if (x > 170) return Number.POSITIVE_INFINITY;
    let product = 1;
    for (let k = 2; k <= x; k++) product *= k;
    return product;
  }
  if (x < -0.5) return Math.PI / (Math.sin(Math.PI * -x) * factorial(-x - 1));
  const coefficients = [
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
  ];
  const sum = coefficients.reduce((total, c, i) => (i === 0 ? c : total + c / (x + i)), 0);
  const t = x + 7.5;
  return Math.sqrt(2 * Math.PI) * t ** (x + 0.5) * Math.exp(-t) * sum;
}
