import { afterAll, beforeAll, expect, test } from "vitest";
import { type Site, serve, useBrowser } from "./harness.ts";
import { JOB, learnt, makeTrainer, QUICK, start, trainerSite } from "./trainer.ts";

// Storage that fills up during a run: the run fails with a message, and nothing is lost.

const web = useBrowser({ keepPages: true });
let site: Site;
beforeAll(async () => {
  site = await serve(await trainerSite());
});
afterAll(() => site.close());

test("a full quota during training fails the run with a message; with free space it continues", async () => {
  // an origin of its own: IndexedDB remembers for a while how much room there was
  const fresh = await serve(site.files);
  const origin = new URL(fresh.url).origin;
  const tight = await web.open("about:blank");
  const session = await tight.createCDPSession();
  await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 1_400_000 }); // one checkpoint has 0.9 MB
  await tight.goto(fresh.url);
  await makeTrainer(tight);
  const recipe = { ...QUICK.sft, lora_r: 32, save_steps: 1 };
  const job = { ...JOB, evaluate: null, phases: [{ ...JOB.phases[0], recipe }] };
  const create = () => tight.evaluate((job) => trainer.runs.create(job), job);
  const id = await create();
  const failed = await start(tight, id);
  expect(failed.error).toMatchObject({
    name: "QuotaError",
    message: expect.stringMatching(
      /storage for this site is full\. [\d.]+ [kM]B are needed, but only [\d.]+ [kM]B of 1\.4 MB are free/,
    ),
  });
  const record = await tight.evaluate((id) => trainer.runs.get(id), id);
  expect(record).toMatchObject({ status: "failed", problem: failed.error!.message });

  await session.send("Storage.overrideQuotaForOrigin", { origin });
  const after = await start(tight, id);
  expect(after.error).toBeNull();
  expect(after.events.find((event) => event.type === "phase")!.global_step).toBe(1);
  const { logs } = await tight.evaluate((id) => trainer.runs.get(id), id);
  const undisturbed = await start(tight, await create());
  expect(undisturbed.error).toBeNull();
  expect(learnt(logs[0].map((record) => ({ type: "log", phase: 0, record })))).toEqual(learnt(undisturbed.events));
  await tight.close();
  await fresh.close();
});
