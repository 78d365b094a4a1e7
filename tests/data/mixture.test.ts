import { describe, expect, it } from "vitest";
import { mixRows, parseSlices, rowSet, sliceRows } from "../../src/data/mixture.ts";
import { DataError } from "../../src/errors.ts";

/** Rows a0, a1, … */
const set = (name: string, count: number) =>
  rowSet(async function* () {
    for (let i = 0; i < count; i++)
      yield { row: { id: `${name}${i}`, other: i }, number: i + 1, file: `${name}.jsonl` };
  });
const ids = async (rows: ReturnType<typeof set>) => {
  const out: unknown[] = [];
  for await (const { row } of rows) out.push(row.id);
  return out;
};
const all = (name: string, count: number) => Array.from({ length: count }, (_, i) => `${name}${i}`);
const part = (name: string, count: number, fraction: number | null = null) => ({
  name,
  rows: set(name, count),
  columns: null,
  fraction,
});

describe("a mixture", () => {
  it("has the rows of one data set after those of another, and can be read again", async () => {
    const mixture = mixRows([part("a", 3), part("b", 2)]);
    expect(await ids(mixture)).toEqual([...all("a", 3), ...all("b", 2)]);
    expect(await ids(mixture)).toHaveLength(5);
  });

  it.each([
    [
      { a: 10, b: 10 },
      { a: 1, b: 1 },
      { a: 10, b: 10 },
    ],
    [
      { a: 10, b: 10 },
      { a: 3, b: 1 },
      { a: 10, b: 3 },
    ],
    [
      { a: 7, b: 100 },
      { a: 0.5, b: 0.5 },
      { a: 7, b: 7 },
    ],
    [
      { a: 5, b: 5, c: 5 },
      { a: 0.2, b: 0.8, c: 0 },
      { a: 1, b: 5, c: 0 },
    ],
    [
      { a: 5, b: 10 },
      { a: 1, b: 0.5 },
      { a: 5, b: 2 },
    ], // round(2.5) is 2 in Python
  ])("of %j rows by fractions %j takes %j from the beginnings", async (rows, fractions, taken) => {
    const names = Object.keys(rows);
    const of = (counts: object, name: string) => (counts as Record<string, number>)[name];
    const mixture = mixRows(names.map((name) => part(name, of(rows, name), of(fractions, name))));
    expect(await ids(mixture)).toEqual(names.flatMap((name) => all(name, of(taken, name))));
  });

  it("keeps the columns that it is asked for, and refuses a row without one", async () => {
    const rows = [];
    for await (const { row } of mixRows([{ ...part("a", 1), columns: ["other"] }])) rows.push(row);
    expect(rows).toEqual([{ other: 0 }]);
    await expect(ids(mixRows([{ ...part("a", 1), columns: ["answer"] }]))).rejects.toThrow(
      "a.jsonl, row 1: has no column answer, which datasets asks of a; it has id, other",
    );
  });
});

describe("a split", () => {
  const slice = async (text: string, count = 10) => {
    const parts = parseSlices(text).map((one) => sliceRows(set(one.split, count), one));
    return (await Promise.all(parts.map(ids))).flat();
  };

  it.each([
    ["t", 0, 10],
    ["t[:3]", 0, 3],
    ["t[2:4]", 2, 4],
    ["t[8:]", 8, 10],
    ["t[-2:]", 8, 10],
    ["t[:50%]", 0, 5],
    ["t[25%:75%]", 2, 8],
    ["t[99:]", 10, 10],
    ["t[:1_0]", 0, 10],
  ])("%s has rows %i to %i", async (text, from, to) => {
    expect(await slice(text)).toEqual(all("t", 10).slice(from, to));
  });

  it("may be a sum", async () => expect(await slice("a[:1]+b[:1]")).toEqual(["a0", "b0"]));

  it.each(["t[", "t[1]", "t[:x]", "", "t[1:2:3]"])("%j is refused", (text) => {
    expect(() => parseSlices(text)).toThrow(DataError);
  });
});
