/** A measured number in about four digits: `2.1e-5`, `0.8613`, `12.35`, `184,230`, `−0.5`; `—` if there is no number. */
export function formatNumber(value: unknown): string {
  if (value === null || value === undefined) return "—";
  if (typeof value !== "number" || !Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (Number.isInteger(value) || size >= 1000) return minus(grouped(Math.round(value)));
  if (size < 1e-3) return minus(value.toExponential(3).replace(/\.?0+e/, "e"));
  return minus(String(Number(value.toPrecision(4))));
}

/** A count in short form: `640`, `525 k`, `1.2 M`, `494 M`, `1.5 B`. */
export function formatCount(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toFixed(1)} B`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(value >= 1e7 ? 0 : 1)} M`;
  if (value >= 1e4) return `${Math.round(value / 1e3)} k`;
  return grouped(value);
}

/** A number with fixed decimals: `65.6`; `—` if there is no number. */
export function formatFixed(value: number | null | undefined, digits = 1): string {
  return typeof value === "number" ? minus(value.toFixed(digits)) : "—";
}

/** Percent: 41.25 is `41.3 %`; `—` if there is no number. */
export function formatPercent(value: number | null | undefined, digits = 1): string {
  return typeof value === "number" ? `${minus(value.toFixed(digits))} %` : "—";
}

/** A share of 1 as percent: 0.4125 is `41 %`. */
export function formatShare(share: number, digits = 0): string {
  return formatPercent(100 * share, digits);
}

/** A difference with its sign: `+12.5`, `−3.1`, `0.0`. */
export function formatSigned(value: number, digits = 1): string {
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return text;
  return `${value > 0 ? "+" : "−"}${text}`;
}

/** A count with its noun: `1 problem`, `1,200 problems`, `2 replies` with `counted(2, "reply", "replies")`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${formatNumber(count)} ${count === 1 ? one : many}`;
}

/** Writes the sign as a true minus. An exponent's sign stays a hyphen, as in code. */
function minus(text: string): string {
  return text.replace(/^-/, "−");
}

function grouped(whole: number): string {
  return String(whole).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}
