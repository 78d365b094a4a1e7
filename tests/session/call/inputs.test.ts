import { expect, test } from "vitest";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import type { CallHost } from "../../../src/session/call/host.ts";
import { dataName, inputName, modelName, openRowsInput } from "../../../src/session/call/inputs.ts";
import { Narrator, stoppable } from "../../../src/session/call/narrator.ts";

const following = { signal: new AbortController().signal, report: () => {} };
const wanted = { split: "train", fields: { dataset_config: null }, model: memoryFolder() };
const noHost = new Proxy({} as CallHost, {
  get: (_, name) => {
    throw new Error(`the host's ${String(name)} is not needed`);
  },
});
const rowsOf = async (input: Parameters<typeof openRowsInput>[1]) => {
  const rows = [];
  for await (const row of await openRowsInput(noHost, input, wanted, following)) rows.push(row);
  return rows;
};

test.each([
  ["Qwen/Qwen2.5-0.5B", { name: "Qwen/Qwen2.5-0.5B" }],
  ["https://huggingface.co/Qwen/Qwen2.5-0.5B", { name: "Qwen/Qwen2.5-0.5B" }],
  [
    "https://huggingface.co/Qwen/Qwen2.5-0.5B/tree/refs%2Fpr%2F3?x=1",
    { name: "Qwen/Qwen2.5-0.5B", revision: "refs/pr/3" },
  ],
  ["./my model", { name: "./my model" }],
  ["file:///a%20b/model", { name: "/a b/model" }],
])("the model %s", (input, named) => {
  expect(modelName(input)).toEqual(named);
});

test("an address that is no model's page is refused", () => {
  expect(() => modelName("https://example.org/model")).toThrow(/give the page of a model on the hub/);
});

test.each([
  ["gsm8k", "gsm8k"],
  ["https://huggingface.co/datasets/openai/gsm8k", "openai/gsm8k"],
  ["https://huggingface.co/datasets/openai/gsm8k/tree/main", "openai/gsm8k"],
  ["https://huggingface.co/datasets/a/b/resolve/main/train.jsonl", null],
  ["https://example.org/rows.csv", null],
  [new URL("file:///data/rows.jsonl"), "/data/rows.jsonl"],
  [[{ text: "a" }], null],
])("the data %s have the name %s", (input, name) => {
  expect(dataName(input)).toBe(name);
});

test("a folder's name in an adapter is its path", () => {
  expect(inputName(memoryFolder("here"))).toBe("here");
});

test("rows are numbered from 1; rows of readRows keep their place", async () => {
  expect(await rowsOf([{ text: "a" }, { text: "b" }])).toEqual([
    { row: { text: "a" }, number: 1, file: "the data" },
    { row: { text: "b" }, number: 2, file: "the data" },
  ]);
  const kept = { row: { text: "c" }, number: 7, file: "c.jsonl" };
  expect(await rowsOf([kept])).toEqual([kept]);
  await expect(rowsOf(["text"] as never)).rejects.toThrow(/row 1 of the data: a row is an object by column, not/);
});

test("a File is read by its name's format", async () => {
  const file = new File(["question,answer\n2+3,5\n"], "sums.csv");
  expect(await rowsOf(file)).toEqual([{ row: { question: "2+3", answer: "5" }, number: 1, file: "sums.csv" }]);
});

test("progress comes between reports: every last one, and the result", async () => {
  const narrator = new Narrator();
  const work = (async () => {
    for (let done = 1; done <= 500; done++) narrator.report("weights", done, 500, "bytes");
    await Promise.resolve();
    narrator.report("rows", 3, null, "rows");
    return "loaded";
  })();
  const events = [];
  const during = narrator.during(work);
  let next = await during.next();
  for (; !next.done; next = await during.next()) events.push(next.value);
  expect(next.value).toBe("loaded");
  expect(events).toContainEqual({ type: "progress", what: "weights", done: 500, total: 500, unit: "bytes" });
  expect(events).toContainEqual({ type: "progress", what: "rows", done: 3, total: null, unit: "rows" });
  expect(events.length).toBeLessThan(5);
});

test("an error of the work is thrown after its reports", async () => {
  const narrator = new Narrator();
  const failing = (async () => {
    narrator.report("rows", 1, 1, "rows");
    throw new Error("torn");
  })();
  const during = narrator.during(failing);
  expect((await during.next()).value).toMatchObject({ what: "rows" });
  await expect(during.next()).rejects.toThrow("torn");
});

test("leaving the loop aborts the run and waits for its end; an error there is not hidden", async () => {
  const ended: string[] = [];
  const run = (fails: boolean) =>
    stoppable(undefined, async function* (signal) {
      try {
        for (let i = 0; !signal.aborted; i++) yield i;
        await Promise.resolve();
        ended.push("saved");
        throw fails ? new Error("disk full") : new DOMException("stopped", "AbortError");
      } finally {
        ended.push("closed");
      }
    });
  for await (const i of run(false)) if (i === 2) break;
  expect(ended).toEqual(["saved", "closed"]);
  await expect(
    (async () => {
      for await (const i of run(true)) if (i === 1) break;
    })(),
  ).rejects.toThrow("disk full");
});

test("the caller's signal reaches the run", async () => {
  const stop = new AbortController();
  const events = stoppable(stop.signal, async function* (signal) {
    for (;;) {
      signal.throwIfAborted();
      yield 1;
    }
  });
  await expect(
    (async () => {
      for await (const _ of events) stop.abort();
    })(),
  ).rejects.toMatchObject({ name: "AbortError" });
});
