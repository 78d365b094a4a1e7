import { readdirSync, readFileSync } from "node:fs";
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
