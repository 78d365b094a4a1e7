import { expose } from "comlink";
import { installTransfers } from "../src/client/wire.ts";
import { runSandbox } from "../src/rewards/code/sandbox.ts";
import type { SandboxRequest } from "../src/rewards/code/sandbox-types.ts";
import { CODE_THREAD } from "./session/reward-platform.ts";
import { TrainerSession } from "./session/trainer.ts";

if (self.name === CODE_THREAD) {
  const post = self.postMessage.bind(self); // the sandbox removes all global names from the thread
  runSandbox({
    post,
    listen: (handler) => self.addEventListener("message", ({ data }: MessageEvent<SandboxRequest>) => handler(data)),
  });
} else {
  installTransfers();
  expose(new TrainerSession());
}
