import { describe, expect, test } from "vitest";
import { detectRows, formatColumns, parseColumns, renamedRows } from "../../src/data/columns.ts";

const rows = (...list: Record<string, unknown>[]) => list.map((row, i) => ({ row, number: i + 1, file: "rows.jsonl" }));
const turn = (role: string, content: string) => ({ role, content });
const chat = [turn("user", "hi"), turn("assistant", "hello")];

describe("the form of rows", () => {
  test.each<[string, Record<string, unknown>, Record<string, string>, string[]]>([
    ["conversation", { messages: chat, source: "x" }, { messages: "messages" }, ["source"]],
    [
      "conversation in ShareGPT's names",
      {
        conversations: [
          { from: "human", value: "hi" },
          { from: "gpt", value: "yes" },
        ],
        system: "Be kind.",
      },
      { conversations: "conversations" },
      [],
    ],
    [
      "instruction and output, as in Alpaca",
      { instruction: "Add", input: "1 2", output: "3", id: 4 },
      { instruction: "instruction", output: "output" },
      ["id"],
    ],
    ["question and answer", { question: "q", answer: "a" }, { question: "question", answer: "answer" }, []],
    [
      "preference pairs",
      { prompt: "p", chosen: "c", rejected: "r", margin: 1 },
      { prompt: "prompt", chosen: "chosen", rejected: "rejected" },
      ["margin"],
    ],
    ["plain text", { text: "once", url: "u" }, { text: "text" }, ["url"]],
    ["prompt and completion", { prompt: "p", completion: "c" }, { prompt: "prompt", completion: "completion" }, []],
    ["tokens", { input_ids: [1, 2], labels: [1, 2] }, { input_ids: "input_ids" }, []],
    ["problem", { problem: "2+2", level: 1 }, { problem: "problem" }, ["level"]],
  ])("%s", (form, row, columns, unused) => {
    expect(detectRows(rows(row))).toEqual({ form, columns, unused, problem: null });
  });

  test("other common names are mapped", () => {
    const found = detectRows(rows({ Query: "q", response: "r", lang: "en" }));
    expect(found).toMatchObject({ columns: { prompt: "Query", completion: "response" }, unused: ["lang"] });
  });

  test("unknown columns give a reason and nothing else", () => {
    expect(detectRows(rows({ a: 1 }))).toMatchObject({ form: null, columns: null, unused: ["a"] });
    expect(detectRows(rows({ a: 1 })).problem).toContain("has the keys a");
    expect(detectRows([]).problem).toBe("There are no rows");
  });
});

test("columns are text of both names, and back", () => {
  const columns = parseColumns("prompt = q, completion=a");
  expect(columns).toEqual({ prompt: "q", completion: "a" });
  expect(formatColumns(columns)).toBe("prompt=q,completion=a");
  for (const wrong of ["", "prompt", "prompt=", "=q", "promt=q", "prompt=a,prompt=b", "prompt=a,"]) {
    expect(() => parseColumns(wrong), wrong).toThrow(/^columns /);
  }
});

test("renamed rows keep the columns of rewards, and a missing column is named with those that are there", async () => {
  const found = [];
  for await (const { row } of renamedRows(rows({ q: 1, prompt: "old", answer: "a", text: "t" }), { prompt: "q" })) {
    found.push(row);
  }
  expect(found).toEqual([{ q: 1, prompt: 1, answer: "a" }]);
  const wrong = renamedRows(rows({ q: 1 }), { prompt: "p" });
  await expect(wrong.next()).rejects.toThrow("rows.jsonl, row 1: has no column p, which columns names; it has q");
});
