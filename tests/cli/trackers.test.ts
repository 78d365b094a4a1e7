import { expect, it } from "vitest";
import { openTrackers } from "../../src/cli/runs/trackers.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { readTrackers, TRACKERS } from "../../src/recipe/trackers.ts";

const run = { run_name: "my run/1", project: "p", yaml: "a: 1\n", config: { a: 1 }, step: 4 };

it("writes files for the trackers that are named, and says how to read them", async () => {
  const output = memoryFolder("out");
  const trackers = await openTrackers(output, { ...run, report_to: TRACKERS }, () => 1_700_000_000_000);
  await trackers.append({ step: 5, loss: 1 });
  await trackers.end(0);
  const [events] = await output.folder("runs").folder("my-run-1").list();
  expect(events).toMatch(/^events\.out\.tfevents\.1700000000\./);
  const [wandb] = await output.folder("wandb").folders();
  expect(wandb).toMatch(/^offline-run-20231114_221320-[0-9a-z]{8}$/);
  expect(await output.folder("wandb").folder(wandb).list()).toEqual([`run-${wandb.slice(-8)}.wandb`]);
  expect(trackers.hints.map((hint) => hint.split(":")[0])).toEqual([
    "Its curves",
    "Into Trackio",
    "To Weights & Biases",
  ]);
});

it("writes nothing where none is named", async () => {
  const output = memoryFolder("out");
  const trackers = await openTrackers(output, { ...run, report_to: [] });
  await trackers.append({ step: 5, loss: 1 });
  await trackers.end(1);
  expect(trackers.hints).toEqual([]);
  expect(await output.folders()).toEqual([]);
});

it("reads report_to as transformers does", () => {
  expect(readTrackers("none").trackers).toEqual([]);
  expect(readTrackers(["all"]).trackers).toEqual([...TRACKERS]);
  expect(readTrackers(["wandb", "mlflow", "mine"])).toEqual({
    trackers: ["wandb"],
    unwritten: ["mlflow"],
    unknown: ["mine"],
  });
});
