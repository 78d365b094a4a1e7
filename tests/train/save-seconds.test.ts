import { expect, test } from "vitest";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { grpo, loadGrpo, prepareGrpo } from "../../src/session/grpo.ts";
import { loadSft, prepareSft, sft } from "../../src/session/sft.ts";
import { ownGpu } from "../gpu/open.ts";
import { recipeOf, tinyModel, tinyRows } from "./fixtures.ts";
import { grpoRecipe, letters, sums, tinyChatModel } from "./grpo/fixtures.ts";

// Also saves a checkpoint after a number of seconds, for any save_steps.

/** A clock on which a second passes each time it is read. */
function clock(): () => number {
  let time = 0;
  return () => (time += 1000);
}

test("an SFT run saves after this many seconds", async () => {
  const gpu = await ownGpu();
  const recipe = recipeOf({ max_steps: 6, logging_steps: 100, save_strategy: "steps", save_steps: 100 });
  const sources = { gpu, model: await tinyModel(), train: tinyRows(20) };
  const prepared = await prepareSft(recipe, sources);
  const trainee = await loadSft(recipe, prepared, sources, "tiny");
  const options = { output: memoryFolder("out"), resume: null, save_seconds: 3, now: clock() };
  const events: string[] = [];
  for await (const event of sft(trainee, prepared.data, recipe, options)) {
    if (event.type === "step" || event.type === "checkpoint")
      events.push(event.type === "step" ? `${event.step}` : event.name);
  }
  const saved = events.filter((event) => event.startsWith("checkpoint"));
  expect(saved.length).toBeGreaterThan(1); // otherwise the last step's checkpoint is the only one
  expect(saved.at(-1)).toBe("checkpoint-6");
  // its step was reported first
  for (const name of saved) expect(events.indexOf(name)).toBeGreaterThan(events.indexOf(name.split("-")[1]));
});

test("a GRPO run does too", async () => {
  const gpu = await ownGpu();
  const recipe = grpoRecipe({ max_steps: 4, logging_steps: 100, save_strategy: "steps", save_steps: 100 });
  const sources = { gpu, model: await tinyChatModel(), train: sums(20), rewards: [letters] };
  const prepared = await prepareGrpo(recipe, sources);
  const trainee = await loadGrpo(recipe, prepared, sources, "tiny");
  const options = { output: memoryFolder("out"), resume: null, save_seconds: 2, now: clock() };
  const saved: string[] = [];
  for await (const event of grpo(trainee, prepared.data, recipe, options)) {
    if (event.type === "checkpoint") saved.push(event.name);
  }
  expect(saved.length).toBeGreaterThan(1);
  expect(saved.at(-1)).toBe("checkpoint-4");
});
