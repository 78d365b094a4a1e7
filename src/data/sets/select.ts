import { DataError } from "../../errors.ts";
import { fnvText } from "../../text/hash.ts";
import { compactJson } from "../../text/python-json.ts";
import { show } from "../../text/show.ts";
import { splitmix32 } from "../sampler.ts";
import type { SetRow } from "./data-set.ts";

/** What a problem is known by: its question without differences of white space and case. */
export function problemKey(row: Pick<SetRow, "problem">): string {
  return row.problem.replace(/\s+/g, " ").trim().toLowerCase();
}

/** A number in [0, 1) of a problem and a seed. */
function draw(key: string, seed: number): number {
  return splitmix32(seed, fnvText(key) >>> 0)() / 2 ** 32;
}

/** Names of the sides and their shares of the problems; the shares add up to 1. */
export type Shares = Readonly<Record<string, number>>;

/**
 * The side that a problem is on: it depends on the problem and the seed alone, so that all rows of a problem are on one
 * side, whatever else is in the data set and in which order. Shares are met about.
 *
 * @throws {DataError} shares below 0, or that do not add up to 1
 */
export function sideOf(key: string, shares: Shares, seed: number): string {
  const sides = Object.entries(shares);
  const sum = sides.reduce((total, [, share]) => total + share, 0);
  if (sides.length === 0 || sides.some(([, share]) => !(share >= 0)) || !(Math.abs(sum - 1) < 1e-9)) {
    throw new DataError(`Cannot split the problems: shares must be at least 0 and add up to 1, got ${show(shares)}`);
  }
  let rest = draw(key, seed);
  for (const [side, share] of sides) {
    if (rest < share) return side;
    rest -= share;
  }
  return sides.filter(([, share]) => share > 0).at(-1)![0];
}

/** The rows of one side; see {@link sideOf}. */
export async function* onSide(
  rows: AsyncIterable<SetRow>,
  side: string,
  shares: Shares,
  seed: number,
): AsyncGenerator<SetRow> {
  if (!Object.hasOwn(shares, side)) {
    throw new DataError(`Cannot read split ${side}: the problems are split into ${Object.keys(shares).join(", ")}`);
  }
  for await (const row of rows) if (sideOf(problemKey(row), shares, seed) === side) yield row;
}

/**
 * Some problems with as many solutions each: many of a few problems, or one of many. Problems come in the order in which
 * they have them all, each with its first ones; reading ends with the last that is needed.
 *
 * @param problems null takes all that have enough
 * @throws {DataError} where there are fewer
 */
export async function* solutionsByProblem(
  rows: AsyncIterable<SetRow>,
  problems: number | null,
  solutions: number,
): AsyncGenerator<SetRow> {
  const waiting = new Map<string, SetRow[]>();
  const done = new Set<string>();
  for await (const row of rows) {
    if (row.completion === undefined) continue;
    const key = problemKey(row);
    if (done.has(key)) continue;
    const own = waiting.get(key) ?? [];
    // the same text twice is no second solution
    const text = compactJson(row.completion);
    if (own.some((other) => compactJson(other.completion) === text)) continue;
    own.push(row);
    if (own.length < solutions) {
      waiting.set(key, own);
      continue;
    }
    waiting.delete(key);
    done.add(key);
    yield* own;
    if (done.size === problems) return;
  }
  if (problems !== null && done.size < problems) {
    throw new DataError(
      `Only ${done.size} of the ${problems} problems asked for have ${solutions} different solutions`,
    );
  }
}
