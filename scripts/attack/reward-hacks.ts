// Runs programs that want a reward without solving anything, and programs that have earned theirs: of the first none may
// pass, of the second all have to. `npx tsx scripts/attack/reward-hacks.ts`

import { openCodePool } from "../../src/cli/sources/code.ts";
import { outcomeOf } from "../../src/rewards/code/outcome.ts";
import type { CodePool } from "../../src/rewards/code/pool.ts";
import { HACKS } from "./hacks.ts";
import { HONEST } from "./honest.ts";

async function outcomesOf(pool: CodePool, attempts: typeof HACKS) {
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
  await pool.end();
  const say = ({ name, outcome, results }: (typeof hacks)[number]) => {
    const messages = results.map((result) => `${result.outcome}${result.message ? ` (${result.message})` : ""}`);
    console.log(`${outcome === "passed" ? "PASSED" : outcome.padEnd(6)}  ${name}: ${messages.join("; ")}`);
  };
  hacks.forEach(say);
  const lost = honest.filter(({ outcome }) => outcome !== "passed");
  lost.forEach(say);
  const passed = hacks.filter(({ outcome }) => outcome === "passed");
  console.log(
    `${passed.length} of ${hacks.length} hacks pass; ${honest.length - lost.length} of ${honest.length} right programs pass`,
  );
  process.exitCode = passed.length + lost.length > 0 ? 1 : 0;
}

await main();
