import { expect, test } from "vitest";
import type { DataSource } from "../../src/client/types.ts";
import { renamedRows } from "../../src/data/columns.ts";
import { FormatError } from "../../src/errors.ts";
import { withoutHeldOut } from "../../workers/session/held-out.ts";
import { checkStored } from "../../workers/session/library.ts";
import { jobOf, PROBLEMS } from "./jobs.ts";

async function* numbered(count: number) {
  for (let i = 0; i < count; i++) yield { row: { question: `q${i}`, other: i }, number: i + 1, file: "f" };
}
async function collect<T>(rows: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const row of rows) all.push(row);
  return all;
}
const file = (name: string, size = 3) => ({ name, size, lastModified: 1 }) as File;

test.each<[string, DataSource, DataSource, number]>([
  ["the same file", { kind: "file", file: file("a") }, { kind: "file", file: file("a") }, 3],
  ["another file", { kind: "file", file: file("a") }, { kind: "file", file: file("a", 4) }, 5],
  ["the same stored rows", { kind: "stored", id: "data/a" }, { kind: "stored", id: "data/a" }, 3],
  ["the hub's same split", { kind: "hub", id: "x", split: "train" }, { kind: "hub", id: "x", split: "train" }, 3],
  ["the hub's splits by default", { kind: "hub", id: "x" }, { kind: "hub", id: "x" }, 5],
  ["the embedded problems, which have a test split", PROBLEMS, PROBLEMS, 5],
])("problems held out of %s", async (_, data, held, left) => {
  const job = jobOf({ evaluate: { data: held, problems: 2 } }, { data });
  const rows = await collect(withoutHeldOut(numbered(5), job, 0));
  expect(rows).toHaveLength(left);
  expect(rows.at(-1)!.number).toBe(5); // the first ones are left out
});

test("no problems, no rows left out", async () => {
  expect(await collect(withoutHeldOut(numbered(5), jobOf(), 0))).toHaveLength(5);
});

test("columns get the names that a mapping gives; those that say how a row is read go, others stay", async () => {
  expect((await collect(renamedRows(numbered(1), { prompt: "other" })))[0].row).toEqual({ other: 0, prompt: 0 });
  expect((await collect(renamedRows(numbered(1), {})))[0].row).toEqual({ question: "q0", other: 0 });
});

test.each(["", "models", "models/", "models/a/b", "other/a", "../a", "data/a/../../x"])(
  "%j is no id of storage",
  (id) => {
    expect(() => checkStored(id)).toThrow(FormatError);
  },
);

test("ids that storage gives out are", () => {
  for (const id of ["hub/models--a--b", "models/mine-1a2b3c4d", "data/rows.csv-1a2b3c4d"])
    expect(checkStored(id)).toBe(id);
});
