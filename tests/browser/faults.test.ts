import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { tinyChatModel } from "../train/grpo/fixtures.ts";
import { type Site, serve, useBrowser } from "./harness.ts";
import { JOB, makeTrainer, start, trainerSite } from "./trainer.ts";

// Invalid user files and full storage: each gives a message, and nothing is lost.

const web = useBrowser({ keepPages: true });
let site: Site;
let page: Page;
/** files of a good model, as base64 */
let model: Record<string, string>;
beforeAll(async () => {
  const folder = await tinyChatModel();
  model = {};
  for (const name of await folder.list()) {
    const source = await folder.open(name);
    model[name] = Buffer.from(await source.read(0, source.size)).toString("base64");
  }
  site = await serve(await trainerSite());
  page = await web.open(site.url);
  await page.evaluate(() => {
    // a file on a disk keeps its date however often it is picked; one made here would take the clock's
    const fileOf = (name: string, base64: string) =>
      new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name, { lastModified: 1_700_000_000_000 });
    Object.assign(globalThis, { fileOf });
  });
  await makeTrainer(page);
});
afterAll(() => site.close());

declare global {
  var fileOf: (name: string, base64: string) => File;
}

const base64 = (text: string) => Buffer.from(text).toString("base64");

/** A job with files of the user's own, to its plan and its end. */
function tryFiles(given: { rows?: string; model?: Record<string, string> }) {
  return page.evaluate(
    async (given, job) => {
      const { rows, model } = given;
      const mine = {
        ...job,
        evaluate: null,
        phases: [{ ...job.phases[0], ...(rows && { data: { kind: "file", file: fileOf("mine.jsonl", rows) } }) }],
        ...(model && {
          model: {
            kind: "files",
            name: "mine",
            files: Object.entries(model).map(([name, text]) => fileOf(name, text)),
          },
        }),
      } as typeof job;
      const plan = await trainer.plan(mine);
      const id = await trainer.runs.create(mine);
      let error = "";
      try {
        for await (const _ of trainer.runs.start(id));
      } catch (thrown) {
        error = `${(thrown as Error).name}: ${(thrown as Error).message}`;
      }
      const { status, problem } = await trainer.runs.get(id);
      return { plan, error, status, problem };
    },
    given,
    JOB,
  );
}

describe("a user's files", () => {
  test("a row that is not JSON", async () => {
    const rows = base64('{"question": "1+1=", "answer": "2"}\n{"question": "1+2=", "answer": \n');
    const preview = await page.evaluate(
      (rows) =>
        trainer.data
          .preview({ kind: "file", file: fileOf("mine.jsonl", rows) })
          .catch((e: Error) => `${e.name}: ${e.message}`),
      rows,
    );
    expect(preview).toMatch(/^DataError: mine\.jsonl, line 2 is not JSON/);
    const { plan, error, status, problem } = await tryFiles({ rows });
    expect(plan).toMatchObject({ fits: false, problem: expect.stringContaining("mine.jsonl, line 2 is not JSON") });
    expect(error).toMatch(/^DataError: .*line 2 is not JSON/);
    expect({ status, problem }).toEqual({ status: "failed", problem: expect.stringContaining("line 2 is not JSON") });
  });

  test("columns with other names are mapped, and unknown ones are named", async () => {
    const found = await page.evaluate(
      async (rows, strange) => {
        const known = await trainer.data.preview({ kind: "file", file: fileOf("mine.jsonl", rows) });
        const unknown = await trainer.data.preview({ kind: "file", file: fileOf("x.csv", strange) });
        const columns = { question: "b", answer: "a" };
        const mapped = await trainer.data.preview({ kind: "file", file: fileOf("x.csv", strange), columns });
        return { known, unknown, mapped };
      },
      base64('{"instruction": "1+1=", "output": "2"}\n{"instruction": "<img onerror=alert(1)>", "output": "3"}\n'),
      base64("a,b\n1,2\n3,4\n"),
    );
    expect(found.known).toEqual({
      columns: ["instruction", "output"],
      rows: [
        ["1+1=", "2"],
        ["<img onerror=alert(1)>", "3"],
      ],
      columnsTaken: { instruction: "instruction", output: "output" }, // Alpaca's names need no others
      form: "instruction and output, as in Alpaca",
      unused: [],
      problem: null,
      count: 2,
    });
    expect(found.unknown).toMatchObject({
      columnsTaken: null,
      problem: expect.stringMatching(/x\.csv, row 1: has the keys a, b/),
      count: 2,
    });
    expect(found.mapped).toMatchObject({ columnsTaken: { question: "question", answer: "answer" }, problem: null });
  });

  test("incomplete weights", async () => {
    const cut = {
      ...model,
      "model.safetensors": Buffer.from(model["model.safetensors"], "base64").subarray(0, 5000).toString("base64"),
    };
    const { plan, error, status } = await tryFiles({ model: cut });
    expect(plan.problem).toMatch(/model\.safetensors.*safetensors/);
    expect(error).toMatch(/^FormatError: .*model\.safetensors/);
    expect(status).toBe("failed");
  });

  test("a chat template with an endless loop", async () => {
    const loop = "{% for a in range(99999) %}".repeat(4) + "x" + "{% endfor %}".repeat(4);
    const config = JSON.parse(Buffer.from(model["tokenizer_config.json"], "base64").toString());
    const looping = { ...model, "tokenizer_config.json": base64(JSON.stringify({ ...config, chat_template: loop })) };
    const plan = await page.evaluate(
      (model, job) =>
        trainer.plan({
          ...job,
          model: {
            kind: "files",
            name: "mine",
            files: Object.entries(model).map(([name, text]) => fileOf(name, text)),
          },
        }),
      looping,
      JOB,
    );
    expect(plan.problem).toMatch(/chat template.*takes more than/i);
  });

  test("a user's own model and rows train, and survive a reload", async () => {
    const rows = base64(
      Array.from({ length: 8 }, (_, i) => `{"question": "${i}+1=", "answer": "#### ${i + 1}"}\n`).join(""),
    );
    const kept = () =>
      page.evaluate(async () => (await trainer.storage.usage()).items.map(({ kind, name }) => `${kind} ${name}`));
    const before = await kept();
    const id = await page.evaluate(
      (rows, model, job) =>
        trainer.runs.create({
          ...job,
          name: "mine",
          model: {
            kind: "files",
            name: "mine",
            files: Object.entries(model).map(([name, text]) => fileOf(name, text)),
          },
          phases: [{ ...job.phases[0], data: { kind: "file", file: fileOf("mine.jsonl", rows) } }],
          evaluate: { data: { kind: "file", file: fileOf("mine.jsonl", rows) }, problems: 2 },
        }),
      rows,
      model,
      JOB,
    );
    const { events, error } = await start(page, id);
    expect(error).toBeNull();
    // two of the eight rows are held out
    expect(events.find((event) => event.type === "phase")?.plan.rows).toBe(6);
    const record = await page.evaluate((id) => trainer.runs.get(id), id);
    expect(record).toMatchObject({ status: "finished", model: "mine", data: "mine.jsonl" });
    expect(record.evaluations.map(({ problems }) => problems.map(({ question }) => question))).toEqual([
      ["0+1=", "1+1="],
      ["0+1=", "1+1="],
    ]);
    expect(record.recipes[0]).toMatch(/model_name_or_path: mine[\s\S]*dataset_name: mine\.jsonl/);
    const items = await kept();
    expect(items).toContain("model mine");
    expect(items).toContain("run mine");
    // a job copies its file once, although it names it twice
    const copies = (of: string[]) => of.filter((item) => item === "data mine.jsonl").length;
    expect(copies(items)).toBe(copies(before) + 1);
  });
});
