// bun bun-dev.js: Bun's dev server, which reloads the page at a change.
import page from "./bun-dev.html";

const worker = Bun.fileURLToPath(import.meta.resolve("qwench/trainer.worker.js"));
const server = Bun.serve({
  port: Number(process.env.PORT ?? 8000),
  development: true,
  routes: { "/": page, "/trainer.worker.js": () => new Response(Bun.file(worker)) },
});
console.log(server.url.href);
