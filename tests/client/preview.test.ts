import { expect, test } from "vitest";
import { embeddedRows } from "../../src/data/sets/embedded.ts";
import { previewRows } from "../../workers/session/preview.ts";

async function* numbered(rows: readonly unknown[]) {
  for (const [i, row] of rows.entries()) yield { row: row as Record<string, unknown>, number: i + 1, file: "rows" };
}

test("conversations are shown as turns, other values as JSON, long ones cut", async () => {
  const rows = [
    {
      messages: [
        { role: "user", content: "Hi" },
        { role: "assistant", content: "Yes?" },
      ],
      tags: ["a", "b"],
    },
    {
      messages: [
        { role: "user", content: "x".repeat(900) },
        { role: "assistant", content: "y" },
      ],
      tags: [1],
    },
  ];
  const { columns, rows: cells, columnsTaken } = await previewRows(numbered(rows));
  expect(columns).toEqual(["messages", "tags"]);
  expect(cells[0]).toEqual(["user: Hi\nassistant: Yes?", '["a","b"]']);
  expect(cells[1][0]).toHaveLength(300);
  expect(columnsTaken).toEqual({ messages: "messages" });
});

test("the embedded rows are readable", async () => {
  const { rows } = await previewRows(numbered(embeddedRows("train", 1)));
  expect(rows[0][0]).toMatch(/^user: .*\?$/);
  expect(rows[0][1]).toMatch(/^assistant: <reasoning>\n/);
});
