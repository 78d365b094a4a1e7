import { defineConfig } from "vite";

export default defineConfig({
  base: "./", // for any folder of a site
  build: { outDir: "dist/vite", target: "es2023" },
});
