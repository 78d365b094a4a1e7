import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { useExamples } from "./examples.ts";

const { reader, example } = useExamples();

test("evaluate.ts solves held-out problems with the adapter", async () => {
  await example("sft.ts", "adapter", "4");
  expect(await example("evaluate.ts", "adapter", "4")).toMatch(/4\/4 (not )?solved\npass@1 [\d.]+ %, pass@2 [\d.]+ %/);
});

test("generate.ts streams an answer, then writes two answers to each of two questions, with the adapter", async () => {
  const said = await example("generate.ts", "adapter");
  expect(said).toMatch(/\(\d+ tokens, (stop|length)\)/);
  expect(said.match(/ → "/g)).toHaveLength(4);
});

test("grpo.ts trains by its own reward", async () => {
  const said = await example("grpo.ts", "by-rewards", "1");
  expect(said).toMatch(/best of 8: "/);
  expect(said).toMatch(/step 1: reward \d/);
  expect(existsSync(join(reader().folder, "by-rewards", "adapter_model.safetensors"))).toBe(true);
});

test("long-way.ts learns by the parts of train()", async () => {
  expect(await example("long-way.ts", "long", "2")).toMatch(/step 1: loss [\d.]+\nstep 2: loss [\d.]+\nAdapter: long/);
});

test("export.ts writes a GGUF that behaves as the adapter does", async () => {
  expect(await example("export.ts", "gguf", "adapter")).toMatch(/tiny-Q8_0.gguf: worst logit difference \d+\.\d+ %/);
  expect(existsSync(join(reader().folder, "gguf", "tiny-Q8_0.gguf"))).toBe(true);
});

test("dpo.ts parts chosen from rejected answers, on held-out pairs too", async () => {
  const said = await example("dpo.ts", "by-preference", "4");
  const losses = [...said.matchAll(/step \d: loss ([\d.]+)/g)].map(([, loss]) => Number(loss));
  expect(losses[0]).toBeCloseTo(Math.LN2, 2);
  expect(losses[3]).toBeLessThan(losses[0]);
  expect(Number(/held out: (\d+) %/.exec(said)![1])).toBeGreaterThan(60);
});

test("resume.ts continues from a checkpoint with the same numbers", async () => {
  const said = await example("resume.ts");
  expect(said.match(/step \d: [\d.]+ the same/g)).toHaveLength(4);
});

test("forecast.ts refuses only runs that do not fit", async () => {
  const said = await example("forecast.ts");
  expect(said).toMatch(/rank 4: .*\nit fits\nrank 64: .*\nCannot train: the forecast is [\d.]+ MiB /);
});
