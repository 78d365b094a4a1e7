import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseChoice } from "../src/platform/adapter.ts";
import { unpackSwiftShader } from "../src/platform/node/swiftshader.ts";
import { hasVulkanDriver, mesaAdvice } from "../src/platform/node/vulkan.ts";

/**
 * Once before the tests: a folder for what test files share, and where they will need the software renderer, unpacks it and
 * says so once for all of them.
 */
export default async function setup(): Promise<() => void> {
  const folder = mkdtempSync(join(tmpdir(), "qwench-tests-"));
  process.env.QWENCH_TEST_RUN = folder;
  await softwareRenderer();
  return () => rmSync(folder, { recursive: true, force: true });
}

async function softwareRenderer(): Promise<void> {
  if (process.platform !== "linux" || parseChoice(process.env.QWENCH_ADAPTER) !== "auto" || hasVulkanDriver()) return;
  await unpackSwiftShader();
  console.error(mesaAdvice());
  process.env.QWENCH_ADAPTER = "swiftshader"; // the tests' processes inherit it, and have nothing to add
}
