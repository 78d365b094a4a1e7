// Runs untrusted Python for rewards. Whoever starts it ends it when time is out.
import { codeSandbox } from "../src/rewards/code/sandbox.ts";
import type { SandboxRequest } from "../src/rewards/code/sandbox-types.ts";

const post = self.postMessage.bind(self); // the sandbox takes all names from the thread
codeSandbox({
  post,
  listen: (handler) => self.addEventListener("message", ({ data }: MessageEvent<SandboxRequest>) => handler(data)),
});
