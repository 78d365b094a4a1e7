import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseChoice } from "../src/platform/adapter.ts";
import { unpackSwiftShader } from "../src/platform/node/swiftshader.ts";
import { hasVulkanDriver, mesaAdvice } from "../src/platform/node/vulkan.ts";

/**
 * Runs once before the tests: creates a folder for shared files, and if the tests need the software renderer, unpacks
 * it and prints one note for all of them.
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
  process.env.QWENCH_ADAPTER = "swiftshader"; // the tests' processes inherit it and print no further note
}
