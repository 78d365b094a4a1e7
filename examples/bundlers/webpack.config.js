import { copyFileSync, mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
mkdirSync(here("dist/webpack"), { recursive: true });
copyFileSync(here("built.html"), here("dist/webpack/index.html"));

export default {
  mode: "production",
  entry: "./src/page.js",
  output: { path: here("dist/webpack"), filename: "page.js", publicPath: "auto" },
  devServer: { static: { directory: here("dist/webpack") } },
  performance: { hints: false },
};
