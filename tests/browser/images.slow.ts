import { expect, test } from "vitest";
import type { Job, RunEvent } from "../../src/client.ts";
import { grey } from "../images.ts";
import { base64, QUESTION, stripes, useSeeingPage } from "./seeing.ts";
import { QUICK, start } from "./trainer.ts";

const page = useSeeingPage();

test("a run on rows with images solves held-out rows with them, and its record has their pictures", async () => {
  const url = (bytes: Uint8Array) => `data:image/png;base64,${base64(bytes)}`;
  const row = (image: Uint8Array, answer: string) => ({
    images: [url(image)],
    messages: [
      { role: "user", content: QUESTION },
      { role: "assistant", content: answer },
    ],
  });
  const dark = row(grey(32, 32, 30), "3");
  const lines = [dark, row(grey(32, 24, 220), "5"), row(stripes, "7"), dark].map((one) => `${JSON.stringify(one)}\n`);
  const made = await page().evaluate(
    async (lines, recipe) => {
      const { seeing: model } = globalThis as unknown as { seeing: Job["model"] };
      const data = { kind: "file" as const, file: new File(lines, "lines.jsonl") };
      const job: Job = {
        name: "Reading",
        model,
        phases: [{ method: "sft", data, recipe }],
        evaluate: { data, problems: 2 },
      };
      const { columnsTaken, problem, rows } = await trainer.data.preview(data);
      return { id: await trainer.runs.create(job), columnsTaken, problem, cell: rows[0].at(-1) };
    },
    lines,
    { ...QUICK.sft, max_steps: 2, max_length: null, lora_target_modules: ["all-linear"] },
  );
  expect(made).toMatchObject({ columnsTaken: { messages: "messages" }, problem: null });
  expect(made.cell).toBe(`user: ${QUESTION}\nassistant: 3`);
  const { events, error } = await start(page(), made.id);
  expect(error).toBeNull();
  const evaluated = events.filter(
    (event): event is Extract<RunEvent, { type: "evaluated" }> => event.type === "evaluated",
  );
  expect(evaluated.map(({ evaluation }) => evaluation.stage)).toEqual(["base", "sft"]);
  const record = await page().evaluate((id) => trainer.runs.get(id), made.id);
  const problems = record.evaluations[1].problems;
  expect(problems).toMatchObject([
    { question: QUESTION, gold: "3" },
    { question: QUESTION, gold: "5" },
  ]);
  expect(problems[0].images![0]).not.toBe(problems[1].images![0]);
  for (const { images } of problems) expect(record.pictures![images![0]]).toMatch(/^data:image\/(webp|png);base64,/);
  const { items } = await page().evaluate(() => trainer.storage.usage());
  expect(items.find(({ id }) => id === "features")?.bytes).toBeGreaterThan(0);
});
