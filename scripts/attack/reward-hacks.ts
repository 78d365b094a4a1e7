// Runs programs that try to get a reward without solving anything, none of which may pass, and correct programs, all of which
// must pass. `npx tsx scripts/attack/reward-hacks.ts`

import { openCodePool } from "../../src/cli/sources/code.ts";
import { outcomeOf } from "../../src/rewards/code/outcome.ts";
import type { CodePool } from "../../src/rewards/code/pool.ts";
import { fuzzed } from "./fuzz.ts";
import { HACKS } from "./hacks.ts";
import { HONEST } from "./honest.ts";
import type { Attempt } from "./targets.ts";

/** Programs with random answers. */
const FUZZED = 400;

async function outcomesOf(pool: CodePool, attempts: readonly Attempt[]) {
  return Promise.all(
    attempts.map(async ({ name, task }) => {
      const results = await pool.run(task);
      return { name, outcome: outcomeOf(results), results };
    }),
  );
}

async function main() {
  const pool = openCodePool({ test_seconds: 6 });
  const [hacks, honest] = [await outcomesOf(pool, HACKS), await outcomesOf(pool, HONEST)];
  const nonsense = await outcomesOf(pool, fuzzed(FUZZED));
  await pool.end();
  const say = ({ name, outcome, results }: (typeof hacks)[number]) => {
    const messages = results.map((result) => `${result.outcome}${result.message ? ` (${result.message})` : ""}`);
    console.log(`${outcome === "passed" ? "PASSED" : outcome.padEnd(6)}  ${name}: ${messages.join("; ")}`);
  };
  hacks.forEach(say);
  const lost = honest.filter(({ outcome }) => outcome !== "passed");
  lost.forEach(say);
  const passed = hacks.filter(({ outcome }) => outcome === "passed");
  const lucky = nonsense.filter(({ outcome }) => outcome === "passed");
  lucky.forEach(say);
  console.log(
    `${passed.length} of ${hacks.length} hacks and ${lucky.length} of ${FUZZED} programs with random answers pass; ${honest.length - lost.length} of ${honest.length} correct programs pass`,
  );
  process.exitCode = passed.length + lucky.length + lost.length > 0 ? 1 : 0;
}

await main();
