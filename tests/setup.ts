import { parseChoice } from "../src/platform/adapter.ts";
import { unpackSwiftShader } from "../src/platform/swiftshader.ts";
import { hasVulkanDriver, mesaAdvice } from "../src/platform/vulkan.ts";

/** Once before the tests: unpacks the software renderer where the tests will need it, and says which one they get. */
export default function setup(): void {
  const choice = parseChoice(process.env.QWENCH_ADAPTER);
  if (process.platform !== "linux" || choice === "gpu" || choice === "mesa") return;
  if (choice === "auto" && hasVulkanDriver()) return;
  unpackSwiftShader();
  if (choice === "auto") console.error(mesaAdvice());
}
