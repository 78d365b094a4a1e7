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

  // its adapters can be chatted with; its rows seen as the model sees them, and as its rewards get them
  const kept = await page.evaluate((id) => trainer.runs.checkpoints(id), id);
  expect(kept.at(-1)).toEqual({ phase: 0, method: "grpo", step: null });
  const said = await page.evaluate(
    async (id, checkpoints) => {
      const texts: string[] = [];
      for (const checkpoint of checkpoints) {
        let text = "";
        const messages = [{ role: "user" as const, content: "2+2=" }];
        const request = { run: id, model: { kind: "embedded" as const }, adapter: true, checkpoint, messages };
        for await (const event of trainer.chat({ ...request, temperature: 0, max_new_tokens: 8 })) {
          if (event.type === "text") text += event.text;
        }
        texts.push(text);
      }
      return texts;
    },
    id,
    [kept.at(-1)!, kept.at(-2)!],
  );
  // the last checkpoint is of the last step
  expect(said[0]).toBe(said[1]);
  const lost = page.evaluate(async (id) => {
    const request = { run: id, model: { kind: "embedded" as const }, adapter: true, messages: [] };
    for await (const _ of trainer.chat({ ...request, checkpoint: { phase: 0, step: 77 } })) break;
  }, id);
  await expect(lost).rejects.toThrow("The checkpoint of step 77 of Good is gone");
  const seen = await page.evaluate(() =>
    trainer.data.see(
      { kind: "embedded", rows: "sft" },
      { model: { kind: "embedded" }, method: "sft", recipe: { max_length: 24 } },
    ),
  );
  expect(seen).toMatchObject({ problem: null, bad: 0, all: true });
  expect(seen.lengths.length).toBe(seen.counted);
  expect(seen.cut).toBe(seen.lengths.filter((length) => length > 24).length);
  expect(new Set(seen.rows.flatMap(({ parts }) => parts.map(({ kind }) => kind))).has("prompt")).toBe(true);
  const rows = await page.evaluate(() =>
    trainer.data.rewardRows({ kind: "embedded", rows: "prompts" }, { system_prompt: "Be brief." }, 3),
  );
  expect(rows.problem).toBeNull();
  expect(rows.prompts.map((prompt) => (prompt as readonly { role: string }[])[0].role)).toEqual([
    "system",
    "system",
    "system",
  ]);
  expect(rows.columns.answer).toHaveLength(3);
  const refused = page.evaluate(() => trainer.data.fetch("file:///etc/hosts"));
  await expect(refused).rejects.toThrow("An address of a file begins with https://");
});
