import { createHash } from "node:crypto";
import { copyFileSync, cpSync, createReadStream, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin, type Rolldown } from "vite";
import { FRAME_FILE, FRAME_SCRIPT, frameDocument } from "./demo/reward/frame.ts";

const root = fileURLToPath(new URL(".", import.meta.url));

/** Where the hub takes large files of a push. */
const LARGE_FILES = ["us-east-1", "eu-west-1"]
  .map((region) => `https://hf-hub-lfs-${region}.s3-accelerate.amazonaws.com`)
  .join(" ");

/** What the page may do: run its own scripts and WASM, show its own frame, and exchange files with its own site and the hub. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self'",
  "style-src 'self'",
  "img-src 'self' blob: data:", // images of a chat and of a run
  "manifest-src 'self'",
  `connect-src 'self' https://huggingface.co https://*.huggingface.co https://*.hf.co ${LARGE_FILES}`,
  "frame-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** The policy as a tag, for hosts that send no headers; the dev server's own scripts would not pass it. */
const policy: Plugin = {
  name: "policy",
  apply: "build",
  transformIndexHtml: () => [
    { tag: "meta", attrs: { "http-equiv": "Content-Security-Policy", content: POLICY }, injectTo: "head-prepend" },
  ],
};

/** Puts the embedded model beside the page. */
const tiny: Plugin = {
  name: "tiny",
  apply: "build",
  writeBundle({ dir }) {
    const from = join(root, "assets/tiny");
    if (!existsSync(from)) this.error("There is no embedded model in assets/tiny: npm run make:tiny");
    cpSync(from, join(dir!, "tiny"), { recursive: true });
  },
};

/** Puts the frame beside the page in which rewards of the user's own run. It has its own policy. */
const sandbox: Plugin = {
  name: "reward-sandbox",
  configureServer({ middlewares }) {
    middlewares.use(`/${FRAME_FILE}`, (_, response) => {
      response.setHeader("Content-Type", "text/html; charset=utf-8");
      response.end(sandboxText());
    });
  },
  generateBundle() {
    this.emitFile({ type: "asset", fileName: FRAME_FILE, source: sandboxText() });
  },
};
const sandboxText = () => frameDocument(`sha256-${createHash("sha256").update(FRAME_SCRIPT).digest("base64")}`);

const PYTHON = join(root, "node_modules/pyodide");
const TYPES: Record<string, string> = {
  "pyodide.asm.js": "text/javascript",
  "pyodide.js": "text/javascript",
  "pyodide.asm.wasm": "application/wasm",
  "pyodide-lock.json": "application/json",
  "python_stdlib.zip": "application/zip",
};

/** Puts Python beside the page, for the rewards that run code: 12 MB that are fetched when one does. */
const python: Plugin = {
  name: "python",
  configureServer({ middlewares }) {
    middlewares.use("/python", ({ url = "" }, response, next) => {
      const name = url.slice(1).split("?")[0];
      if (!Object.hasOwn(TYPES, name)) return next();
      response.setHeader("Content-Type", TYPES[name]);
      createReadStream(join(PYTHON, name)).pipe(response);
    });
  },
  writeBundle({ dir }) {
    mkdirSync(join(dir!, "python"), { recursive: true });
    for (const name of Object.keys(TYPES)) copyFileSync(join(PYTHON, name), join(dir!, "python", name));
  },
};

const NAME = "Qwench";
const ICONS = ["icon-192.png", "icon-512.png", "icon-maskable.png"];

/** The page as an app: a manifest, icons, and a service worker that knows every file of the build. */
function pwa(root: string): Plugin {
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

/** The page: `vite --config vite.demo.config.ts` serves it, `vite build` makes dist-demo for any host and path. */
export default defineConfig({
  root: join(root, "demo"),
  base: "./",
  publicDir: false,
  plugins: [policy, tiny, sandbox, python, pwa(root)],
  worker: { format: "es" },
  server: { fs: { allow: [root] } },
  build: {
    outDir: join(root, "dist-demo"),
    emptyOutDir: true,
    target: "es2023",
    modulePreload: false,
    assetsInlineLimit: 0, // the policy has no data: addresses
  },
});
