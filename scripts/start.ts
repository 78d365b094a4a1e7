// `npm start`: a tiny model learns a form of answer by SFT, then by GRPO to work its problems. Downloads nothing.
import { start } from "../src/cli/start.ts";

// Dawn keeps the process alive, so the end is explicit.
start().then((result) => {
  process.exitCode = result ? 0 : 1;
  process.stdout.write("", () => process.stderr.write("", () => process.exit()));
});
