import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * Collects garbage after tokenisation: about 300 MB for GSM8K, which V8 would otherwise keep while the weights load. Does
 * nothing in a runtime without access to its collector.
 */
export async function collectGarbage(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve)); // objects used in the current turn are still reachable
  try {
    setFlagsFromString("--expose-gc");
    (runInNewContext("gc") as () => void)();
  } catch {
    // optional, so ignore errors
  }
}
