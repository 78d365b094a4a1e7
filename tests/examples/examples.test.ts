import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readAdapter } from "../../src/io/peft.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { root } from "../docs/blocks.ts";
import { useExamples } from "./examples.ts";

const { reader, example } = useExamples();

test("sft.ts learns, and leaves an adapter that PEFT reads", async () => {
  const said = await example("sft.ts", "adapter", "4");
  const losses = [...said.matchAll(/step \d+: loss ([\d.]+)/g)].map(([, loss]) => Number(loss));
  expect(losses).toHaveLength(4);
  expect(losses[3]).toBeLessThan(losses[0]);
  expect((await readAdapter(nodeFolder(join(reader().folder, "adapter")))).config.r).toBe(16);
});

test("evaluate.ts solves held-out problems with the adapter", async () => {
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

test("grade.ts compares answers mathematically", async () => {
  const said = await example("grade.ts");
  expect(said).toContain("1/2 and 0.5: equal");
  expect(said).toContain("(1, 2) and (2, 1): not equal");
  expect(said).toContain("found 7 by boxed: right");
});

test("every example in TypeScript runs in a test", () => {
  const tests = ["examples.test.ts", "examples.slow.ts"].map((name) =>
    readFileSync(join(root, "tests/examples", name), "utf8"),
  );
  const run = tests.flatMap((text) => [...text.matchAll(/await example\("([\w-]+\.ts)"/g)].map(([, name]) => name));
  expect([...new Set(run)].sort()).toEqual(readdirSync(join(root, "examples")).filter((name) => name.endsWith(".ts")));
});
