import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import type { Plugin, Rolldown } from "vite";

const NAME = "Qwench";
const ICONS = ["icon-192.png", "icon-512.png", "icon-maskable.png"];

/** The page as an app: a manifest, icons, and a service worker that knows every file of the build. */
export function pwa(root: string): Plugin {
  const here = join(root, "demo/pwa");
  const tiny = join(root, "assets/tiny");
  return {
    name: "pwa",
    apply: "build",
    transformIndexHtml: () => [
      { tag: "link", attrs: { rel: "manifest", href: "./manifest.webmanifest" }, injectTo: "head" },
      { tag: "link", attrs: { rel: "apple-touch-icon", href: "./icon-192.png" }, injectTo: "head" },
      {
        tag: "meta",
        attrs: { name: "theme-color", content: "#fbfaf8", media: "(prefers-color-scheme: light)" },
        injectTo: "head",
      },
      {
        tag: "meta",
        attrs: { name: "theme-color", content: "#161614", media: "(prefers-color-scheme: dark)" },
        injectTo: "head",
      },
    ],
    generateBundle: {
      order: "post", // the page's HTML is in the bundle by then
      handler(_, bundle) {
        const emit = (fileName: string, source: string | Uint8Array) =>
          this.emitFile({ type: "asset", fileName, source });
        const manifest = `${JSON.stringify(manifestOf(), null, 2)}\n`;
        const icons = ICONS.map((name) => [name, readFileSync(join(here, name))] as const);
        const files = new Map<string, string | Uint8Array>([
          ...Object.values(bundle).map((file) => [file.fileName, contentOf(file)] as const),
          ...icons,
          ["manifest.webmanifest", manifest],
          ...tinyFiles(tiny),
        ]);
        const sums = Object.fromEntries(
          [...files].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, content]) => [name, sha256(content)]),
        );
        const build = sha256(JSON.stringify(sums)).slice(0, 16);
        const code = readFileSync(join(here, "worker.js"), "utf8");
        emit("manifest.webmanifest", manifest);
        for (const [name, bytes] of icons) emit(name, bytes);
        emit("service-worker.js", `const BUILD = "${build}";\nconst FILES = ${JSON.stringify(sums)};\n${code}`);
      },
    },
  };
}

function manifestOf() {
  return {
    name: NAME,
    short_name: NAME,
    description: "Train small Qwen language models in a browser tab, on your own GPU.",
    start_url: "./",
    scope: "./",
    display: "standalone",
    background_color: "#fbfaf8",
    theme_color: "#fbfaf8",
    icons: [
      { src: "./icon-192.png", sizes: "192x192", type: "image/png" },
      { src: "./icon-512.png", sizes: "512x512", type: "image/png" },
      { src: "./icon-maskable.png", sizes: "512x512", type: "image/png", purpose: "maskable" },
    ],
  };
}

function tinyFiles(folder: string): [string, Uint8Array][] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== "README.md")
    .map(({ parentPath, name }) => {
      const path = join(parentPath, name);
      return [`tiny/${relative(folder, path).replaceAll("\\", "/")}`, readFileSync(path)];
    });
}

const contentOf = (file: Rolldown.OutputChunk | Rolldown.OutputAsset) =>
  file.type === "chunk" ? file.code : file.source;
const sha256 = (content: string | Uint8Array) => createHash("sha256").update(content).digest("hex");
