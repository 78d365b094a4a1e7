import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ROOT } from "../../scripts/check-package/pack.ts";
import { useInstalled } from "./installed.ts";

const { project, entries, node } = useInstalled();

test("has types that compile where libraries are checked too", () => {
  const lines = entries().map(
    (entry, i) => `import * as entry${i} from ${JSON.stringify(entry.replace(/^\./, "qwench"))};`,
  );
  const use = `${lines.join("\n")}
export const all = [${lines.map((_, i) => `entry${i}`).join(", ")}];
export const open = async (adapter: GPUAdapter): Promise<GPUDevice> => (await entry0.requestGpu(adapter)).device;
`;
  writeFileSync(join(project, "use.ts"), use);
  const compilerOptions = {
    module: "NodeNext",
    target: "ES2023",
    strict: true,
    noEmit: true,
    skipLibCheck: false,
    types: [],
    preserveSymlinks: true,
  };
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["use.ts"] }));
  expect(node(join(ROOT, "node_modules/typescript/bin/tsc"), "-p", ".")).toBe("");
});
