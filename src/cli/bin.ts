import { isMainThread } from "node:worker_threads";
import { useEnvProxy } from "../platform/node/proxy.ts";
import { main } from "./main.ts";

// When a reader such as head closes the pipe, the program ends. Files stay intact, because every write is atomic.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

// Dawn keeps the process alive, so exit explicitly, after flushing output to pipes. A thread of this file reads documents.
if (isMainThread) {
  useEnvProxy()
    .then(() => main(process.argv.slice(2)))
    .then((code) => {
      process.exitCode = code;
      process.stdout.write("", () => process.stderr.write("", () => process.exit(code)));
    });
}
