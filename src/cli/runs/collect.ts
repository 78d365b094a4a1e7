import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * Collects what tokenising left behind: some 300 MB for GSM8K, which V8 would keep for as long as memory is not short,
 * beside the weights. Does nothing in a runtime that will not be asked.
 */
export async function collectGarbage(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve)); // the current turn still holds what it touched
  try {
    setFlagsFromString("--expose-gc");
    (runInNewContext("gc") as () => void)();
  } catch {
    // a wish, not a need
  }
}
