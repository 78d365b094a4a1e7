import type { RewardSandbox } from "../../src/client/types.ts";

let made: Promise<RewardSandbox> | null = null;
const load = () => {
  made ??= import("./sandbox.ts").then(({ FrameSandbox }) => new FrameSandbox());
  made.catch(() => (made = null));
  return made;
};

/** The page's sandbox for the user's rewards; its code and frame load with the first module. */
export const rewardSandbox: RewardSandbox = {
  open: async (module) => (await load()).open(module),
  call: async (id, name, input, options) => (await load()).call(id, name, input, options),
  end: async (id) => (await load()).end(id),
};
