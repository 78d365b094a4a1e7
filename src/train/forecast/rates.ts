import type { ModelConfig } from "../../model/config.ts";
import { layersOfPass, type Pass, type PassKind, type WorkModel, workOfPass } from "./work.ts";

/** How long passes of one kind take: `layer` seconds for each layer, and `operation` for each operation of `workOfPass`. */
export interface PassRate {
  layer: number;
  operation: number;
}

/** What an adapter was measured at, on a model of one width. */
export interface WidthRates extends Record<PassKind, PassRate> {
  /** hidden_size of the measured model */
  hidden: number;
  /** seconds to compile one kernel */
  kernel: number;
  /** whether they hold for every width: a processor does the same work at about the same rate, however wide */
  everyWidth: boolean;
}

/** Measurements of an adapter, narrow models first. */
export type DeviceRates = readonly WidthRates[];

/** One measured pass. */
export interface MeasuredPass {
  layers: number;
  operations: number;
  seconds: number;
}

/**
 * Fits the two rates to passes of several sizes, by least squares of relative errors. Neither rate is negative.
 */
export function fitRate(passes: readonly MeasuredPass[]): PassRate {
  const rows = passes.map(({ layers, operations, seconds }) => [layers / seconds, operations / seconds] as const);
  let [aa, ab, bb, a1, b1] = [0, 0, 0, 0, 0];
  for (const [a, b] of rows) {
    aa += a * a;
    ab += a * b;
    bb += b * b;
    a1 += a;
    b1 += b;
  }
  const only = { layer: { layer: a1 / aa, operation: 0 }, operation: { layer: 0, operation: b1 / bb } };
  const determinant = aa * bb - ab * ab;
  if (determinant <= 1e-9 * aa * bb) return only.operation; // all passes have one size
  const layer = (a1 * bb - b1 * ab) / determinant;
  const operation = (b1 * aa - a1 * ab) / determinant;
  if (layer < 0) return only.operation;
  return operation < 0 ? only.layer : { layer, operation };
}

/**
 * The rates for a model: those of its width, or between two measured widths, on a logarithmic scale. Wider products run nearer to
 * a device's best rate.
 */
export function ratesFor(rates: DeviceRates, { hidden_size }: Pick<ModelConfig, "hidden_size">): WidthRates {
  const sorted = [...rates].sort((a, b) => a.hidden - b.hidden);
  const above = sorted.findIndex(({ hidden }) => hidden >= hidden_size);
  if (above === 0 || sorted.length === 1) return sorted[0];
  if (above < 0) return sorted[sorted.length - 1];
  const [low, high] = [sorted[above - 1], sorted[above]];
  const share = Math.log(hidden_size / low.hidden) / Math.log(high.hidden / low.hidden);
  const between = (a: number, b: number) => (a > 0 && b > 0 ? a ** (1 - share) * b ** share : a + (b - a) * share);
  const pass = (kind: PassKind): PassRate => ({
    layer: between(low[kind].layer, high[kind].layer),
    operation: between(low[kind].operation, high[kind].operation),
  });
  return {
    hidden: hidden_size,
    train: pass("train"),
    forward: pass("forward"),
    decode: pass("decode"),
    kernel: between(low.kernel, high.kernel),
    everyWidth: false,
  };
}

/** Seconds that passes take. */
export function secondsOf(passes: readonly Pass[], model: WorkModel, rates: WidthRates): number {
  return passes.reduce((sum, pass) => {
    const { layer, operation } = rates[pass.kind];
    return sum + pass.count * (layer * layersOfPass(model, pass) + operation * workOfPass(model, pass));
  }, 0);
}
