import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import type { Plugin, UserConfig } from "vite";
import { defineConfig } from "vitest/config";

// One bundle a run, because a single file cannot share chunks: vite build --mode cli | index | …
const ENTRIES: Record<string, string> = {
  cli: "src/cli/bin.ts",
  index: "src/index.ts",
  headless: "src/headless.ts",
  platform: "src/platform/headless.ts",
};
/** What a page loads without a bundler: whole files that import nothing. */
const FOR_PAGES: Record<string, string> = {
  client: "src/client.ts",
  "trainer.worker": "workers/trainer.worker.ts",
  widget: "demo/widget.ts", // its worker is inside
  ui: "demo/ui.ts", // the page of `qwench ui`
};
/** Tests that replace modules, which no other file may get. */
const MOCKING = ["tests/kernels/compile.test.ts"];
/** All that the package holds. */
export const BUNDLES: readonly string[] = [...Object.keys(ENTRIES), ...Object.keys(FOR_PAGES)];
const VERSION: string = JSON.parse(readFileSync(new URL("package.json", import.meta.url), "utf8")).version;
const NATIVE = ["webgpu", "@sparticuz/chromium"];

/** The client's worker is a file beside it. */
const besideClient: Plugin = {
  name: "beside-client",
  transform: (code, id) =>
    id.endsWith("/src/client.ts") ? code.replace("../workers/trainer.worker.ts", "./trainer.worker.js") : null,
};

function forPages(mode: string): UserConfig {
  const output = { entryFileNames: `${mode}.js`, codeSplitting: false };
  return {
    plugins: [besideClient],
    worker: { format: "es", rolldownOptions: { output: { codeSplitting: false } } },
    build: {
      outDir: "dist",
      emptyOutDir: false,
      ssr: FOR_PAGES[mode], // leaves `new URL(…, import.meta.url)` for the browser, or the bundler of a page
      target: "es2023",
      cssTarget: ["chrome123", "firefox120", "safari17.5"], // have light-dark()
      minify: mode !== "client", // small, and bundlers look for what is written there
      rolldownOptions: { output },
    },
    ssr: { noExternal: true, target: "webworker" },
  };
}

export default defineConfig(({ mode }) => {
  if (mode in FOR_PAGES) return forPages(mode);
  const program = mode === "cli";
  return {
    build: {
      outDir: "dist",
      emptyOutDir: false,
      ssr: ENTRIES[mode],
      target: program ? "node20" : "es2023",
      minify: false,
      sourcemap: !program,
      rolldownOptions: {
        external: NATIVE,
        output: {
          entryFileNames: `${mode}.js`,
          codeSplitting: false, // an entry that shares chunks exports what they need of it
          ...(program && { banner: "#!/usr/bin/env node" }),
        },
      },
    },
    define: { QWENCH_VERSION: JSON.stringify(VERSION) },
    // a program carries its pure dependencies; the library leaves them to whoever bundles it, but for idb-keyval, a few
    // lines that only its browser part uses
    ssr: { noExternal: program || ["idb-keyval"], target: mode === "index" ? "webworker" : "node" },
    test: {
      pool: "forks", // Vulkan reads the environment of the process, which a worker thread only has a copy of
      maxWorkers: Math.max(3, Math.min(4, Math.floor(availableParallelism() / 2))), // browser tests wait more than they compute
      globalSetup: ["tests/setup.ts", ...(mode === "slow" ? [] : ["tests/quick-kernels.ts"])],
      // Files of a process share loaded modules, a device and its compiled kernels: a quarter of the suite's time.
      ...(mode === "slow"
        ? { include: ["tests/**/*.slow.ts"] }
        : {
            projects: [
              {
                extends: true,
                test: {
                  name: "shared",
                  isolate: false,
                  setupFiles: ["tests/one-device.ts"],
                  include: ["tests/**/*.test.ts"],
                  exclude: ["**/node_modules/**", ...MOCKING],
                },
              },
              { extends: true, test: { name: "alone", include: MOCKING } },
            ],
          }),
      // only what hangs may meet these: a file may compile a hundred pipelines first, on a machine that others use too
      testTimeout: 900_000,
      hookTimeout: 900_000,
      expect: { poll: { timeout: 180_000 } },
      teardownTimeout: 5_000, // Dawn keeps a process alive; this is how long one may take to end
    },
  };
});
