import { isMainThread } from "node:worker_threads";
import { useEnvProxy } from "../platform/node/proxy.ts";
import { main } from "./main.ts";

// When a reader such as head closes the pipe, the command stops as after Ctrl-C, and the program ends without an error. An exit in the
// middle of a computation would unload a driver that still computes: SwiftShader then crashes.
let closed = false;
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  if (closed) return;
  closed = true;
  if (!process.emit("SIGINT", "SIGINT")) process.exit(0); // nothing handles an interruption
});

// Dawn keeps the process alive, so exit explicitly, after flushing output to pipes. A thread of this file reads documents.
if (isMainThread) {
  useEnvProxy()
    .then(() => main(process.argv.slice(2)))
    .then((code) => {
      if (closed) process.exit(0);
      process.exitCode = code;
      process.stdout.write("", () => process.stderr.write("", () => process.exit(code)));
    });
}
