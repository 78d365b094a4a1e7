import { cpSync, existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";

const root = fileURLToPath(new URL(".", import.meta.url));

/** What the page may do: run its own scripts and WASM, and fetch from its own site and from the hub. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self' https://huggingface.co https://*.huggingface.co https://*.hf.co",
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
    const from = join(root, "demo/tiny");
    if (!existsSync(from)) this.error("There is no embedded model in demo/tiny: npm run make:tiny");
    cpSync(from, join(dir!, "tiny"), { recursive: true });
  },
};

/** The page: `vite --config vite.demo.config.ts` serves it, `vite build` makes dist-demo for any host and path. */
export default defineConfig({
  root: join(root, "demo"),
  base: "./",
  publicDir: false,
  plugins: [policy, tiny],
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
