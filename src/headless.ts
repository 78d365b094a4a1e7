// The library's entry in Node and Deno: the same names as src/index.ts, with the disk, the hub's cache and threads behind them.
import { nodeHost } from "./cli/sources/node-host.ts";
import { useHost } from "./session/call/host.ts";

export * from "./index.ts";

useHost(nodeHost);
