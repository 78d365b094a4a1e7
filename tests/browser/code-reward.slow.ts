import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { type Site, serve, useBrowser } from "./harness.ts";
import { makeTrainer, start, trainerSite } from "./trainer.ts";

const at = (path: string) => join(import.meta.dirname, "../..", path);

const web = useBrowser();
let site: Site;
beforeAll(async () => {
  const files = await trainerSite(nodeFolder(at("assets/tiny")));
  for (const name of ["pyodide.asm.js", "pyodide.js", "pyodide-lock.json", "pyodide.asm.wasm", "python_stdlib.zip"]) {
    files.set(`python/${name}`, readFileSync(at(`node_modules/pyodide/${name}`)));
  }
  site = await serve(files);
});
afterAll(() => site.close());

const PROGRAM = "```python\nprint(int(input()) + 1)\n```";

test("a run in the page learns to write a program, rewarded by its tests", { timeout: 1_200_000 }, async () => {
  const page = await web.open(site.url);
  await makeTrainer(page);
  const id = await page.evaluate(async (program) => {
    const prompt = [{ role: "user", content: "One more?" }];
    const file = (name: string, row: object) =>
      new File([`${JSON.stringify(row)}\n`.repeat(16)], name, { type: "application/x-ndjson" });
    const examples = file("examples.jsonl", { prompt, completion: [{ role: "assistant", content: program }] });
    const tests = { test_cases: [{ type: "stdin_stdout", input: "4", output: "5" }] };
    const problems = file("problems.jsonl", { prompt, verification_info: { language: "python", ...tests } });
    return trainer.runs.create({
      name: "Programs",
      model: { kind: "embedded" },
      phases: [
        {
          method: "sft",
          data: { kind: "file", file: examples },
          recipe: { max_steps: 120, learning_rate: 1e-2, per_device_train_batch_size: 8, lora_dropout: 0 },
        },
        {
          method: "grpo",
          data: { kind: "file", file: problems },
          recipe: {
            max_steps: 1,
            logging_steps: 1,
            num_generations: 4,
            per_device_train_batch_size: 4,
            max_completion_length: 96,
            temperature: 0.2,
            reward_funcs: ["binary_code_reward"],
          },
        },
      ],
      evaluate: null,
    });
  }, PROGRAM);
  const { events, error } = await start(page, id);
  expect(error).toBeNull();
  const generated = events.find((event) => event.type === "generated");
  expect(generated?.records.map(({ completion }) => completion)).toContain(PROGRAM);
  for (const { completion, rewards } of generated!.records) {
    if (completion === PROGRAM) expect(rewards).toEqual({ binary_code_reward: 1 });
  }
});
