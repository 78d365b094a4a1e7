import { main } from "./main.ts";

// Dawn keeps the process alive, so the end is explicit; output that is still on its way to a pipe goes first.
main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
  process.stdout.write("", () => process.stderr.write("", () => process.exit(code)));
});
