import { parseChoice } from "../src/platform/adapter.ts";
import { unpackSwiftShader } from "../src/platform/node/swiftshader.ts";
import { hasVulkanDriver, mesaAdvice } from "../src/platform/node/vulkan.ts";

/** Once before the tests: where they will need the software renderer, unpacks it and says so once for all of them. */
export default async function setup(): Promise<void> {
  if (process.platform !== "linux" || parseChoice(process.env.QWENCH_ADAPTER) !== "auto" || hasVulkanDriver()) return;
  await unpackSwiftShader();
  console.error(mesaAdvice());
  process.env.QWENCH_ADAPTER = "swiftshader"; // the tests' processes inherit it, and have nothing to add
}
