import { createHash } from "node:crypto";
import { copyFileSync, cpSync, createReadStream, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";
import { FRAME_FILE, FRAME_SCRIPT, frameDocument } from "./demo/reward/frame.ts";

const root = fileURLToPath(new URL(".", import.meta.url));

/** What the page may do: run its own scripts and WASM, show its own frame, and fetch from its own site and from the hub. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self'",
  "style-src 'self'",
  "img-src 'self' blob: data:", // images of a chat and of a run
  "connect-src 'self' https://huggingface.co https://*.huggingface.co https://*.hf.co",
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

/** The page: `vite --config vite.demo.config.ts` serves it, `vite build` makes dist-demo for any host and path. */
export default defineConfig({
  root: join(root, "demo"),
  base: "./",
  publicDir: false,
  plugins: [policy, tiny, sandbox, python],
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
