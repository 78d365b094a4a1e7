import { afterAll, beforeAll, expect, test } from "vitest";
import { type Site, serve, useBrowser } from "./harness.ts";
import { trainerSite } from "./trainer.ts";

// No call hangs after a worker dies, for any reason.

const web = useBrowser();
let site: Site;
let script: string;
beforeAll(async () => {
  const files = await trainerSite();
  script = [...files.keys()].find((name) => name.includes("trainer.worker"))!;
  site = await serve(files);
});
afterAll(() => site.close());

test("a worker that the browser ends without an event", async () => {
  const page = await web.open(site.url);
  const said = await page.evaluate(async (script) => {
    const worker = new Worker(script, { type: "module" });
    const trainer = client.createTrainer({ worker });
    await trainer.runs.list();
    // what a tab does that is short of memory: nobody is told
    worker.terminate();
    const call = await trainer.recipe.presets().then(
      () => "it succeeded",
      (error: Error) => `${error instanceof client.QwenchError} ${error.message}`,
    );
    return { lost: await trainer.lost, call };
  }, script);
  expect(said.lost).toMatch(/worker has died/);
  expect(said.call).toMatch(/^true The trainer's worker has died/);
});

test("a worker whose script is missing", async () => {
  const page = await web.open(site.url);
  const said = await page.evaluate(async () => {
    const trainer = client.createTrainer({ workerUrl: "./nowhere.js" });
    const call = await trainer.device().catch((error: Error) => `${error.name}: ${error.message}`);
    const stream = await (async () => {
      for await (const _ of trainer.runs.start("x"));
    })().catch((error: Error) => error.name);
    return { lost: await trainer.lost, call, stream };
  });
  expect(said.lost).toMatch(/worker did not start/);
  expect(said.call).toMatch(/^QwenchError: The trainer's worker did not start/);
  expect(said.stream).toBe("QwenchError");
});
