import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Site, serve, useBrowser } from "./harness.ts";
import { JOB, makeTrainer, start, trainerSite } from "./trainer.ts";

const web = useBrowser();
let site: Site;
beforeAll(async () => {
  site = await serve(await trainerSite());
});
afterAll(() => site.close());

describe("a trainer in a worker", () => {
  test("plans and trains a job of two phases, with events in order and a record of it all", async () => {
    const page = await web.open(site.url);
    await makeTrainer(page);
    const device = await page.evaluate(() => trainer.device());
    expect(device).toMatchObject({ software: true, advice: expect.stringContaining("CPU") });

    const plan = await page.evaluate((job) => trainer.plan(job), JOB as never);
    expect(plan).toMatchObject({
      fits: true,
      problem: null,
      download: 0,
      phases: [{ max_steps: 3 }, { max_steps: 2 }],
    });
    expect(plan.phases[0].memory.peak).toBeGreaterThan(0);

    const id = await page.evaluate((job) => trainer.runs.create(job), JOB as never);
    const { events, error } = await start(page, id);
    expect(error).toBeNull();
    expect(
      events
        .filter(({ type }) => !["progress", "note", "log", "warning", "checkpoint"].includes(type))
        .map(({ type }) => type),
    ).toEqual([
      "evaluated",
      "phase",
      "step",
      "step",
      "step",
      "evaluated",
      "phase",
      "generated",
      "step",
      "generated",
      "step",
      "evaluated",
      "end",
    ]);
    const record = await page.evaluate((id) => trainer.runs.get(id), id);
    expect(record).toMatchObject({
      status: "finished",
      problem: null,
      phases: [
        { method: "sft", max_steps: 3, global_step: 3 },
        { method: "grpo", max_steps: 2, global_step: 2 },
      ],
      model: "the embedded model",
    });
    expect(record.logs.map((logs) => logs.length)).toEqual([3, 2]);
    expect(record.evaluations.map(({ stage, problems }) => [stage, problems.length])).toEqual([
      ["base", 3],
      ["sft", 3],
      ["grpo", 3],
    ]);
  });
});
