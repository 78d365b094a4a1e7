import { DataError } from "../../errors.ts";
import { fnvText } from "../../text/hash.ts";
import { compactJson } from "../../text/python-json.ts";
import { show } from "../../text/show.ts";
import { splitmix32 } from "../sampler.ts";
import type { SetRow } from "./data-set.ts";

/** A problem's identity: its question, ignoring white space and case. */
export function problemKey(row: Pick<SetRow, "problem">): string {
  return row.problem.replace(/\s+/g, " ").trim().toLowerCase();
}

/** A number in [0, 1) from a problem and a seed. */
function draw(key: string, seed: number): number {
  return splitmix32(seed, fnvText(key) >>> 0)() / 2 ** 32;
}

/** Names of the sides and their shares of the problems; the shares add up to 1. */
export type Shares = Readonly<Record<string, number>>;

/**
 * The side of a problem. It depends only on the problem and the seed: all rows of a problem are on the same side,
 * regardless of other rows and their order. Shares are approximate.
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
 * Selects problems with the same number of solutions each: many for few problems, or one for many. A problem is yielded
 * once it has all its solutions (the first ones); reading stops after the last problem needed.
 *
 * @param problems null: all problems with enough solutions
 * @throws {DataError} there are fewer
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
    // a repeated text is not a second solution
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
      `Only ${done.size} of the ${problems} requested problems have ${solutions} different solutions`,
    );
  }
}
