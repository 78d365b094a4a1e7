// Kills commands at random moments with SIGKILL and restarts them until they finish. Their files must be identical, byte for
// byte, to those of an undisturbed command. `npx tsx scripts/attack/kills.ts [--n 50] [--seed 1] [--only
// sft,grpo,dpo,export,eval,data]` runs dist/cli.js: run `npm run build` first.

import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  argvOf,
  contentsOf,
  differences,
  ended,
  hasCheckpoint,
  METHODS,
  roundsOf,
  startCli,
  tellProgress,
  WEIGHTS,
} from "./rounds.ts";

/** Most kills of one command. */
const MOST_KILLS = 3;

const root = mkdtempSync(join(tmpdir(), "qwench-kills-"));
const at = (...names: string[]) => join(root, ...names);

interface Command {
  argv(output: string): string[];
  /** files whose bytes do not depend on the clock; other files must only exist */
  same: RegExp;
}

const training = (method: string): Command => ({
  argv: (output) => argvOf(method, output, hasCheckpoint(output)),
  same: WEIGHTS,
});

const COMMANDS: Record<string, Command> = {
  ...Object.fromEntries(Object.keys(METHODS).map((method) => [method, training(method)])),
  export: {
    argv: (output) => ["export", "--adapter", at("sft"), "--format", "merged_16bit", "--output", output],
    same: /./,
  },
  eval: {
    argv: (output) => ["eval", "--limit", "8", "--n", "2", "--temperature", "0.7", "--output", join(output, "e.json")],
    same: /./,
  },
  data: {
    argv: (output) => ["data", "make", at("handbook.txt"), "--output", output, "--config", at("data.yaml")],
    same: /^(?!recipe\.yaml$)/, // the recipe names the folder
  },
};
// documents and settings of `data`: chunks of 40 tokens, and prompts that fit the embedded model
const halls = Array.from(
  { length: 40 },
  (_, i) => `Pump ${i + 1} in hall ${i % 7} lifts ${7 * i + 5} litres a minute.`,
);
writeFileSync(at("handbook.txt"), halls.join("\n"));
writeFileSync(
  at("data.yaml"),
  'generation: {chunk_size: 256, max_tokens: 40, overlap: 8, num_pairs: 2}\nprompts: {qa_generation: "{text}", qa_rating: "{count}"}\n',
);

async function attack(name: string, n: number, seed: number): Promise<number> {
  const { argv, same } = COMMANDS[name];
  const { draw } = roundsOf(seed, name);
  const straight = at(name);
  const reference = await ended(startCli(argv(straight), root));
  if (reference.code !== 0) throw new Error(`${name} fails undisturbed:\n${reference.said}`);
  const wanted = contentsOf(straight);
  let good = 0;
  let kills = 0;
  for (let round = 0; round < n; round++) {
    const output = at(`${name}-${round}`);
    let faults: string[] = [];
    for (let tries = 0; ; tries++) {
      const after = tries < MOST_KILLS ? draw() * reference.ms * 1.05 : null;
      const { code, said } = await ended(startCli(argv(output), root), after);
      if (code === null) {
        kills++;
        // killed after writing the last byte, so the command is complete
        if (existsSync(output) && differences(output, wanted, same).length === 0) break;
        continue;
      }
      faults =
        code === 0 ? differences(output, wanted, same) : [`exit code ${code}: ${said.trim().split("\n").at(-1)}`];
      break;
    }
    if (faults.length === 0) good++;
    else console.log(`${name}, round ${round}: ${faults.join("; ")}`);
    rmSync(output, { recursive: true, force: true });
    tellProgress(name, good, round + 1, n);
  }
  console.log(`${name}: ${good} of ${n} rounds end with the bytes of an undisturbed one, after ${kills} kills`);
  return n - good;
}

const { values } = parseArgs({
  options: {
    n: { type: "string", default: "50" },
    seed: { type: "string", default: "1" },
    only: { type: "string" },
  },
});
const chosen = values.only?.split(",") ?? Object.keys(COMMANDS);
let lost = 0;
// exports use SFT's adapter
for (const name of Object.keys(COMMANDS))
  if (chosen.includes(name) || name === "sft")
    lost += await attack(name, chosen.includes(name) ? Number(values.n) : 0, Number(values.seed));
rmSync(root, { recursive: true, force: true });
process.exit(lost > 0 ? 1 : 0);
