// `npm start`: a tiny model learns an answer format by SFT, then to solve problems by GRPO. Downloads nothing.
// npm start -- --seed 1 --output DIR: another seed, another folder.
import { parseArgs } from "node:util";
import { EMBEDDED_OUTPUT } from "../src/cli/sources/embedded.ts";
import { start } from "../src/cli/start.ts";

const { values } = parseArgs({
  options: { seed: { type: "string", default: "42" }, output: { type: "string", default: EMBEDDED_OUTPUT } },
});

// Dawn keeps the process alive, so exit explicitly.
start({ seed: Number(values.seed), output: values.output }).then((result) => {
  process.exitCode = result ? 0 : 1;
  process.stdout.write("", () => process.stderr.write("", () => process.exit()));
});
