// `npm start`: a tiny model learns a form of answer by SFT, then by GRPO to work its problems. Downloads nothing.
// npm start -- --seed 1 --output DIR: other draws, another folder.
import { parseArgs } from "node:util";
import { EMBEDDED_OUTPUT } from "../src/cli/sources/embedded.ts";
import { start } from "../src/cli/start.ts";

const { values } = parseArgs({
  options: { seed: { type: "string", default: "42" }, output: { type: "string", default: EMBEDDED_OUTPUT } },
});

// Dawn keeps the process alive, so the end is explicit.
start({ seed: Number(values.seed), output: values.output }).then((result) => {
  process.exitCode = result ? 0 : 1;
  process.stdout.write("", () => process.stderr.write("", () => process.exit()));
});
