import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { FRAME_FILE, FRAME_SCRIPT, frameDocument } from "../../demo/reward/frame.ts";
import { tinyChatModel } from "../train/grpo/fixtures.ts";
import { badRewards } from "./bad-rewards.ts";
import { bundle, type Site, serve, useBrowser } from "./harness.ts";
import { QUICK, start } from "./trainer.ts";

// Real runs with rewards that misbehave at their second step: each run stops, says why, and keeps its checkpoint.

const web = useBrowser({ keepPages: true });
let site: Site;
beforeAll(async () => {
  const files = await bundle("tests/browser/pages/rewards.ts");
  const model = await tinyChatModel();
  for (const name of await model.list()) {
    const source = await model.open(name);
    files.set(`tiny/${name}`, await source.read(0, source.size));
  }
  files.set(FRAME_FILE, frameDocument(`sha256-${createHash("sha256").update(FRAME_SCRIPT).digest("base64")}`));
  site = await serve(files, { policy: null });
});
afterAll(() => site.close());

test("each run fails with the reward's name, and its adapter after the first step is kept", {
  timeout: 1_800_000,
}, async () => {
  const page = await web.open(site.url);
  const rewards = badRewards(site.url);
  site.asked.length = 0;
  for (const { title, text, says, loading } of rewards) {
    const id = await page.evaluate(
      (text, recipe) =>
        trainer.runs.create({
          name: "Bad",
          model: { kind: "embedded" },
          phases: [
            {
              method: "grpo",
              data: { kind: "embedded", rows: "prompts" },
              recipe: { ...recipe, reward_funcs: ["./bad.mjs:bad"], reward_timeout: 2 },
              modules: [{ name: "bad.mjs", text }],
            },
          ],
          evaluate: null,
        }),
      text,
      QUICK.grpo,
    );
    const { error } = await start(page, id);
    const record = await page.evaluate((id) => trainer.runs.get(id), id);
    expect.soft(record.status, title).toBe("failed");
    if (loading) continue; // says what the editor says, without its line
    expect.soft(error?.message, title).toMatch(says);
    expect.soft(record.problem, title).toBe(error?.message);
    expect.soft(record.phases[0].global_step, title).toBe(1);
    const size = await page.evaluate(async (id) => (await trainer.export(id, "adapter")).blob.size, id);
    expect.soft(size, title).toBeGreaterThan(1000);
  }
  expect(rewards.length).toBeGreaterThanOrEqual(12);
  expect(site.asked.filter((path) => /stolen/.test(path))).toEqual([]);

  // a run whose reward is fine goes through, with its weight
  const id = await page.evaluate(
    (recipe) =>
      trainer.runs.create({
        name: "Good",
        model: { kind: "embedded" },
        phases: [
          {
            method: "grpo",
            data: { kind: "embedded", rows: "prompts" },
            recipe: { ...recipe, reward_funcs: ["./own.mjs:length_of"], reward_weights: [0.5] },
            modules: [
              {
                name: "own.mjs",
                text: "export const length_of = (prompts, completions, { answer }) => completions.map((c, i) => (answer[i] ? c[0].content.length : null));",
              },
            ],
          },
        ],
        evaluate: null,
      }),
    QUICK.grpo,
  );
  const { events, error } = await start(page, id);
  expect(error).toBeNull();
  const drawn = events.flatMap((event) => (event.type === "generated" ? event.records : []));
  expect(drawn.length).toBe(8);
  for (const { completion, rewards } of drawn) expect(rewards.length_of).toBe(completion.length);
  const yaml = await page.evaluate(async (id) => (await trainer.runs.get(id)).recipes[0], id);
  expect(yaml).toContain("./own.mjs:length_of");
});
