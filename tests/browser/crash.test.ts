import type { Page, WebWorker } from "puppeteer-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Job } from "../../src/client.ts";
import { type Site, serve, useBrowser } from "./harness.ts";
import { learnt, makeTrainer, QUICK, start, trainerSite } from "./trainer.ts";

// Interruptions: nothing saved is lost, and the next start gives the numbers of an undisturbed run.

/** More than the three before a disturbance. */
const STEPS = 6;

const JOB: Job = {
  name: "Disturbed",
  model: { kind: "embedded" },
  phases: [
    {
      method: "sft",
      data: { kind: "embedded", rows: "sft" },
      recipe: { ...QUICK.sft, max_steps: STEPS, save_steps: 1 },
    },
  ],
  evaluate: null,
};

const web = useBrowser({ keepPages: true });
let site: Site;
let page: Page;
let worker: WebWorker;
let undisturbed: string[];
beforeAll(async () => {
  site = await serve(await trainerSite());
  page = await web.open(site.url);
  await makeTrainer(page);
  const { events, error } = await start(page, await create());
  expect(error).toBeNull();
  undisturbed = learnt(events);
  expect(undisturbed).toHaveLength(STEPS);
});
afterAll(() => site.close());

const create = (job = JOB) => page.evaluate((job) => trainer.runs.create(job), job);
const recordOf = (id: string) => page.evaluate((id) => trainer.runs.get(id), id);

declare global {
  /** continues a held run */
  var goOn: () => void;
}

/**
 * Starts a run in the page and returns after `steps` steps.
 *
 * @param hold the run waits for `goOn`; otherwise it continues, and on a busy machine it may end before the test acts
 */
async function startAndWait(id: string, steps: number, { hold = false } = {}): Promise<void> {
  await page.evaluate(
    (id, steps, hold) =>
      new Promise<void>((resolve, reject) => {
        const control = new AbortController();
        const held = new Promise<void>((goOn) => Object.assign(globalThis, { ended: null, control, goOn }));
        const going = (async () => {
          let seen = 0;
          for await (const event of trainer.runs.start(id, { signal: control.signal }))
            if (event.type === "step" && ++seen === steps) {
              resolve();
              if (hold) await held;
            }
          return "it ended";
        })();
        going
          .catch((error: Error) => `${error.name}: ${error.message}`)
          .then((ended) => Object.assign(globalThis, { ended }));
        going.catch(reject);
      }),
    id,
    steps,
    hold,
  );
}
const howItEnded = () =>
  page.waitForFunction(() => (globalThis as { ended?: string }).ended).then((handle) => handle.jsonValue());

async function comesToTheSameNumbers(id: string, atLeast: number): Promise<void> {
  const { events, error } = await start(page, id);
  expect(error).toBeNull();
  const began = events.find((event) => event.type === "phase");
  expect(began!.global_step).toBeGreaterThanOrEqual(atLeast);
  expect(began!.global_step).toBeLessThan(STEPS);
  const { logs, status } = await recordOf(id);
  expect(status).toBe("finished");
  expect(learnt(logs[0].map((record) => ({ type: "log", phase: 0, record })))).toEqual(undisturbed);
}

test("a second tab gets an error while another tab trains", async () => {
  const [phase] = JOB.phases;
  const id = await create({ ...JOB, phases: [{ ...phase, recipe: { ...phase.recipe, max_steps: 2000 } }] }); // it is stopped
  await startAndWait(id, 1);
  const other = await web.open(site.url);
  await makeTrainer(other);
  const listed = await other.evaluate(() => trainer.runs.list());
  expect(listed.find((run) => run.id === id)?.status).toBe("running");
  const said = await other.evaluate(async (id) => {
    const errors: string[] = [];
    const note = (error: Error) => errors.push(`${error instanceof client.BusyError} ${error.message}`);
    try {
      for await (const _ of trainer.runs.start(id));
    } catch (error) {
      note(error as Error);
    }
    await trainer.runs.remove(id).catch(note);
    await trainer.storage.remove(`runs/${id}`).catch(note);
    return errors;
  }, id);
  expect(said).toEqual([
    expect.stringMatching(/^true Another tab of this site is training/),
    expect.stringMatching(/^true Cannot delete a run while it is training/),
    expect.stringMatching(/^true Cannot delete a run while it is training/),
  ]);
  await other.close();
  await page.evaluate(() => (globalThis as unknown as { control: AbortController }).control.abort());
  expect(await howItEnded()).toMatch(/^AbortError/);
});

test("a killed worker is reported, and a new trainer continues from the last checkpoint", async () => {
  const id = await create();
  await startAndWait(id, 3, { hold: true });
  const lost = await page.evaluate(async () => {
    const { lost } = trainer;
    goOn();
    await new Promise((done) => setTimeout(done)); // its next step is asked for
    trainer.terminate();
    return lost;
  });
  expect(lost).toMatch(/worker was terminated/);
  expect(await howItEnded()).toMatch(/^QwenchError: The trainer's worker was terminated/);
  await makeTrainerThatWeSeeInto();
  expect(await recordOf(id)).toMatchObject({ status: "paused" });
  await comesToTheSameNumbers(id, 2);
});

test("a device that is destroyed pauses the run, and the next start opens another", async () => {
  const id = await create();
  await startAndWait(id, 3, { hold: true });
  await worker.evaluate(() => (globalThis as unknown as { devices: GPUDevice[] }).devices.at(-1)!.destroy());
  await page.evaluate(() => goOn());
  expect(await howItEnded()).toMatch(/^GpuError: The device of .* was destroyed/);
  expect(await page.evaluate(() => trainer.lost)).toMatch(/destroyed/);
  expect(await recordOf(id)).toMatchObject({
    status: "paused",
    problem: expect.stringMatching(/was destroyed.*Start the run again to continue from the last checkpoint/),
  });
  await comesToTheSameNumbers(id, 2);
});

/** A new trainer, whose devices are seen from the first on. */
async function makeTrainerThatWeSeeInto(): Promise<void> {
  const created = new Promise<WebWorker>((found) => page.once("workercreated", found));
  await makeTrainer(page);
  worker = await created;
  await page.evaluate(() => trainer.recipe.presets()); // its script has run
  await rememberDevices(worker);
}

/** Keeps hold of the devices that a worker opens from now on. */
function rememberDevices(worker: WebWorker): Promise<void> {
  return worker.evaluate(() => {
    const devices: GPUDevice[] = [];
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (descriptor) {
      const device = await request.call(this, descriptor);
      devices.push(device);
      return device;
    };
    Object.assign(globalThis, { devices });
  });
}
