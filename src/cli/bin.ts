import { useEnvProxy } from "../platform/node/proxy.ts";
import { main } from "./main.ts";

// A reader that has had enough, such as head, ends the program; every file is written atomically all the same.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

// Dawn keeps the process alive, so the end is explicit; output that is still on its way to a pipe goes first.
useEnvProxy()
  .then(() => main(process.argv.slice(2)))
  .then((code) => {
    process.exitCode = code;
    process.stdout.write("", () => process.stderr.write("", () => process.exit(code)));
  });
