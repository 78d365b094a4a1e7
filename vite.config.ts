import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

// One bundle a run, because a single file cannot share chunks: vite build --mode cli | bench | index.
const ENTRIES: Record<string, string> = { cli: "src/cli/bin.ts", bench: "bench/main.ts", index: "src/index.ts" };
const NATIVE = ["webgpu", "@sparticuz/chromium"];

export default defineConfig(({ mode }) => {
  const program = mode === "cli" || mode === "bench";
  return {
    build: {
      outDir: "dist",
      emptyOutDir: mode === "cli", // the first of the three
      ssr: ENTRIES[mode],
      target: program ? "node20" : "es2023",
      minify: false,
      sourcemap: !program,
      rolldownOptions: {
        external: NATIVE,
        output: {
          entryFileNames: `${mode}.js`,
          chunkFileNames: "chunks/[name].js",
          codeSplitting: !program,
          ...(program && { banner: "#!/usr/bin/env node" }),
        },
      },
    },
    // a program carries its pure dependencies; the library leaves them to whoever bundles it
    ssr: { noExternal: program || undefined, target: program ? "node" : "webworker" },
    test: {
      include: [mode === "slow" ? "tests/**/*.slow.ts" : "tests/**/*.test.ts"],
      pool: "forks", // Vulkan reads the environment of the process, which a worker thread only has a copy of
      maxWorkers: Math.max(2, Math.min(4, Math.floor(availableParallelism() / 2))),
      globalSetup: ["tests/setup.ts"],
      testTimeout: 300_000, // a cold shader cache: a file may compile a hundred pipelines, on a machine that others use too
      hookTimeout: 120_000,
      teardownTimeout: 5_000, // Dawn keeps a process alive; this is how long one may take to end
    },
  };
});
