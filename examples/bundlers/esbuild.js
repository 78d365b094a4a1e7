// node esbuild.js builds; node esbuild.js --serve builds and serves, anew at each request.
import { copyFileSync, mkdirSync } from "node:fs";
import { context } from "esbuild";

mkdirSync("dist/esbuild", { recursive: true });
copyFileSync("built.html", "dist/esbuild/index.html");
const made = await context({
  entryPoints: {
    page: "src/page.js",
    "trainer.worker": "qwench/trainer.worker.js", // esbuild emits no worker by itself: it is an entry, beside the page's
  },
  bundle: true,
  format: "esm", // the client finds the worker beside itself by import.meta.url
  outdir: "dist/esbuild",
});
if (process.argv.includes("--serve")) {
  const { port } = await made.serve({ servedir: "dist/esbuild", port: Number(process.env.PORT ?? 8000) });
  console.log(`http://localhost:${port}/`);
} else {
  await made.rebuild();
  await made.dispose();
}
