// Builds dist/: `npm run build`. npm also runs this after `npm ci`, before packing, and when it installs from git.
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";
import { BUNDLES } from "../vite.config.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

rmSync(join(root, "dist"), { recursive: true, force: true });
for (const mode of BUNDLES) await build({ root, mode, logLevel: "warn" });
const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin/tsc");
execFileSync(process.execPath, [tsc, "-p", "tsconfig.build.json"], { cwd: root, stdio: "inherit" });
writeFileSync(join(root, "dist/types/trainer.worker.d.ts"), "export {};\n"); // a script that exports nothing
writeOlderTypes();

/**
 * TypeScript includes WebGPU's types since 6.0, and they conflict with `@webgpu/types`. Older versions get separate entries
 * that refer to that package.
 */
function writeOlderTypes(): void {
  const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  for (const { types, "types@<6.0": older } of Object.values<Record<string, string | undefined>>(exports)) {
    if (!types || !older) continue;
    const module = JSON.stringify(relative(dirname(older), types).replace(/\.d\.ts$/, ".js"));
    const byDefault = /export (default|\{[^}]*\bas default)\b/.test(readFileSync(join(root, types), "utf8"));
    const lines = ['/// <reference types="@webgpu/types" />', `export * from ${module};`];
    if (byDefault) lines.push(`export { default } from ${module};`);
    mkdirSync(join(root, dirname(older)), { recursive: true });
    writeFileSync(join(root, older), `${lines.join("\n")}\n`);
  }
}
