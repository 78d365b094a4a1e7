import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { type ByteSource, type ReadOptions, readRows } from "../../src/data/dataset.ts";
import { parseCsv } from "../../src/data/formats/csv.ts";
import { jsonElements } from "../../src/data/formats/json-array.ts";
import { parseRow } from "../../src/data/rows.ts";
import { DataError, FormatError, UnsupportedError } from "../../src/errors.ts";
import { pythonJson } from "../../src/text/python-json.ts";
import { cpuTime } from "../cpu-time.ts";
import { sharedRows, sharedText } from "../shared.ts";
import { memorySource } from "./fixtures.ts";

async function collect(source: ByteSource, options?: ReadOptions) {
  const rows = [];
  for await (const row of readRows(source, options)) rows.push(row);
  return rows;
}
const read = (name: string, content: string | Uint8Array, options?: ReadOptions) =>
  collect(memorySource(name, content), options);
const values = async (name: string, content: string | Uint8Array, options?: ReadOptions) =>
  (await read(name, content, options)).map(({ row }) => row);

describe("JSON Lines", () => {
  it("numbers rows by line, past a byte order mark, blank lines and CRLF", async () => {
    expect(await read("d.jsonl", '\ufeff{"a":1}\r\n\r\n  {"a":"é\u2028"}\n\n{"a":3}')).toEqual([
      { row: { a: 1 }, number: 1, file: "d.jsonl" },
      { row: { a: "é\u2028" }, number: 3, file: "d.jsonl" },
      { row: { a: 3 }, number: 5, file: "d.jsonl" },
    ]);
    expect(await read("d.jsonl", "")).toEqual([]);
  });

  it("reads across chunks, and no more than requested", async () => {
    const lines = Array.from({ length: 3000 }, (_, i) => JSON.stringify({ i, text: "語".repeat(300) }));
    const source = memorySource("d.ndjson", lines.join("\n"));
    expect(source.size).toBeGreaterThan(2 << 20);
    const rows = await collect(source);
    expect(rows.map(({ row }) => row.i)).toEqual(lines.map((_, i) => i));
    expect(rows.every(({ row }) => row.text === "語".repeat(300))).toBe(true);
    source.reads = 0;
    expect(await collect(source, { limit: 2 })).toHaveLength(2);
    expect(source.reads).toBeLessThan(1.1 * (1 << 20));
    expect(await collect(source, { limit: 0 })).toEqual([]);
  });

  it("names the file and the line that is not JSON", async () => {
    const bad = read("dir/train.jsonl", '{"a":1}\n\n{"a":\n{"a":2}');
    await expect(bad).rejects.toThrow(DataError);
    await expect(bad).rejects.toThrow(/^dir\/train.jsonl, line 3 is not JSON \(.*\): \{"a":$/);
    await expect(read("t.jsonl", "[1]\n")).rejects.toThrow(
      "t.jsonl, line 1 must be a JSON object with named fields, not a list",
    );
    await expect(read("t.jsonl", "null")).rejects.toThrow("line 1 must be a JSON object with named fields, not null");
  });

  it("returns the rows before an invalid row", async () => {
    const seen: unknown[] = [];
    await expect(async () => {
      for await (const row of readRows(memorySource("t.jsonl", '{"a":1}\nx\n'))) seen.push(row);
    }).rejects.toThrow("line 2");
    expect(seen).toHaveLength(1);
  });

  it("refuses text that is not UTF-8, and a source that ends early", async () => {
    await expect(read("t.jsonl", Uint8Array.of(0x7b, 0xff, 0xfe))).rejects.toThrow(FormatError);
    const short: ByteSource = { name: "t.jsonl", size: 99, read: async () => new Uint8Array(3) };
    await expect(collect(short)).rejects.toThrow("t.jsonl ended early");
  });

  const gsm8k = sharedText("data/gsm8k/test.jsonl");
  it.skipIf(gsm8k === null)("reads all of GSM8K", async () => {
    const rows = await read("test.jsonl", gsm8k!);
    expect(rows.map(({ row }) => row)).toEqual(sharedRows("data/gsm8k/test.jsonl"));
    expect(rows).toHaveLength(1319);
    expect(rows.every((row) => parseRow(row).format === "chat")).toBe(true);
  });
});

describe("gzip", () => {
  it("is decompressed, for any text", async () => {
    const lines = '{"a":1}\n{"a":2}\n';
    expect(await values("d.jsonl.gz", gzipSync(lines))).toEqual([{ a: 1 }, { a: 2 }]);
    expect(await values("d.json.gz", gzipSync('[{"a":1}]'))).toEqual([{ a: 1 }]);
    expect(await values("d.csv.gz", gzipSync("a\n1\n"))).toEqual([{ a: "1" }]);
    expect(await values("d.jsonl", gzipSync(lines), { limit: 1 })).toEqual([{ a: 1 }]);
  });

  it("is refused if it is incomplete or not gzip", async () => {
    const packed = gzipSync('{"a":1}\n'.repeat(1000));
    await expect(read("d.jsonl.gz", packed.subarray(0, packed.length - 9))).rejects.toThrow(FormatError);
    await expect(read("d.jsonl.gz", '{"a":1}')).rejects.toThrow(
      "d.jsonl.gz is not a gzip file: it begins with 7b 22 61 22",
    );
  });
});

describe("a JSON array", () => {
  it("is read completely, and numbered by row", async () => {
    expect(await read("d.json", ' \n[{"a":1},\n{"a":2}]')).toEqual([
      { row: { a: 1 }, number: 1, file: "d.json" },
      { row: { a: 2 }, number: 2, file: "d.json" },
    ]);
    expect(await values("d.json", '{"a":1}\n{"a":2}\n')).toEqual([{ a: 1 }, { a: 2 }]);
    expect(await values("download", '[{"a":1}]')).toEqual([{ a: 1 }]);
  });

  it("is refused with the row", async () => {
    await expect(read("d.json", '[{"a":1}, 2]')).rejects.toThrow("d.json, row 2 must be a JSON object");
    await expect(read("d.json", '[{"a":1}')).rejects.toThrow(DataError);
    await expect(read("d.json", '{\n"rows": []\n}')).rejects.toThrow("d.json, line 1 is not JSON");
  });
});

describe("CSV", () => {
  it("reads quotes, doubled quotes, delimiters and line breaks", async () => {
    const text = '\ufeffquestion,answer\r\n"a, ""b""\nc",1\r\n\r\n,"" \n'.replace('"" \n', '""\n');
    expect(await read("d.csv", text)).toEqual([
      { row: { question: 'a, "b"\nc', answer: "1" }, number: 1, file: "d.csv" },
      { row: { question: "", answer: "" }, number: 2, file: "d.csv" },
    ]);
    expect(await values("d.csv", "a,b\n1,2")).toEqual([{ a: "1", b: "2" }]);
    expect(await values("d.csv", 'a\n"x\r\ny"\r\n')).toEqual([{ a: "x\r\ny" }]);
    expect(await values("d.csv", 'a,b\nx,"y"')).toEqual([{ a: "x", b: "y" }]);
    expect(await values("d.tsv", "a\tb\n1,5\t\n")).toEqual([{ a: "1,5", b: "" }]);
    expect(await values("d.csv", "")).toEqual([]);
  });

  it("does not depend on chunk boundaries", async () => {
    const text = 'a,b\r\n"x""y, z",2\r\n3,"4\r\n5"\r\n';
    const whole = await values("d.csv", text);
    expect(whole).toEqual([
      { a: 'x"y, z', b: "2" },
      { a: "3", b: "4\r\n5" },
    ]);
    for (let cut = 0; cut <= text.length; cut++) {
      const pieces = async function* () {
        yield* [text.slice(0, cut), "", text.slice(cut, cut + 1), text.slice(cut + 1)];
      };
      const rows = [];
      for await (const { row } of parseCsv("d.csv", pieces(), ",")) rows.push(row);
      expect(rows, `cut at ${cut}`).toEqual(whole);
    }
  });

  it("names the line of an error", async () => {
    await expect(read("d.csv", "a,b\n1,2\n3\n")).rejects.toThrow(
      "d.csv, line 3 (row 2) has 1 fields, but the header has 2: a, b",
    );
    await expect(read("d.csv", 'a,b\n"x\ny",2\n"z')).rejects.toThrow(
      "d.csv, line 4: the quote opened in the record of line 4",
    );
    await expect(read("d.csv", 'a\n"x"y\n')).rejects.toThrow('line 2: "y" after a closing quote');
    await expect(read("d.csv", "a,a\n1,2\n")).rejects.toThrow("the header's column names must differ");
  });
});

it("reads what pandas and spreadsheets write", async () => {
  expect(await values("d.csv", ',prompt\n0,"Tom has 3?"\n1,5" screens\n')).toEqual([
    { "Unnamed: 0": "0", prompt: "Tom has 3?" },
    { "Unnamed: 0": "1", prompt: '5" screens' },
  ]);
});

describe("numbers are Python's", () => {
  it("in JSON Lines and arrays", async () => {
    const row = '{"a": {"t": 20.0, "id": 9007199254740993, "eps": 1e-07}, "n": 12345678901234567, "x": NaN}';
    for (const [name, text] of [
      ["d.jsonl", `${row}\n`],
      ["d.json", `[\n${row}\n]\n`],
    ]) {
      const [made] = (await values(name, text)) as { a: Record<string, unknown>; n: unknown; x: unknown }[];
      expect(made.n).toBe(12345678901234567n);
      expect(made.x).toBe(Number.NaN);
      expect(pythonJson(made.a)).toBe('{"t": 20.0, "id": 9007199254740993, "eps": 1e-07}');
    }
  });
});

describe("a JSON array is read row by row", () => {
  it("at any chunk boundary", async () => {
    const text = ' [{"a":"x,]\\"{"},{"a":[1,{"b":"\\\\"}]} , {"a":"é"}]\n';
    const wanted = JSON.parse(text);
    for (let cut = 1; cut < text.length; cut++) {
      const made: unknown[] = [];
      const pieces = async function* () {
        yield text.slice(1, cut + 1);
        yield text.slice(cut + 1);
      };
      for await (const element of jsonElements("d.json", pieces(), 1000)) made.push(JSON.parse(element));
      expect(made, `cut at ${cut}`).toEqual(wanted);
    }
    expect(await values("d.json", "[ ]")).toEqual([]);
  });

  it.each([
    ['[{"a":1}', "it ends after 0 rows"],
    ['[{"a":1},]', "a row is missing after 1 rows"],
    ['[{"a":1}] 2', "follows the array after 1 rows"],
    ['[{"a":1}][', "follows the array after 1 rows"],
    ['[{"a":1},{"a"}]', "d.json, row 2 is not JSON"],
    [`[{"a":${"[".repeat(300)}${"]".repeat(300)}}]`, "nesting is deeper than 200"],
  ])("%s", (text, wrong) => expect(read("d.json", text)).rejects.toThrow(wrong));
});

describe("nothing hangs or grows", () => {
  it.each([
    [
      "a header of 100,000 columns",
      "d.csv",
      `${Array.from({ length: 100_000 }, (_, i) => `c${i}`).join(",")}\n`,
      "more than 10000 fields",
    ],
    ["20 MB of commas", "d.csv.gz", gzipSync(Buffer.alloc(20_000_000, ",")), "more than 10000 fields"],
    [
      "300 MB of spaces",
      "d.json.gz",
      gzipSync(Buffer.alloc(300_000_000, " ")),
      "begins with more than 1048576 blank characters",
    ],
    ["30 MB of line feeds", "d.jsonl.gz", gzipSync(Buffer.alloc(30_000_000, "\n")), "400 times its size"],
    ["brackets without end", "d.jsonl", "[".repeat(10_000_000), "nesting is deeper than 200"],
    ["empty lists without end", "d.jsonl", `{"a":[${"[],".repeat(4_000_000)}[]]}`, "more than 2000000 values"],
  ])("%s", async (_, name, content, wrong) => {
    const spent = cpuTime();
    await expect(read(name, content)).rejects.toThrow(wrong);
    expect(spent()).toBeLessThan(30); // 2 to 4 on a busy machine; work that grows with the square of the size takes hours
  });
});

// Written with hyparquet-writer: columns question, answer, input_ids (list of int64) and messages (list of structs),
// two row groups of 2 and 1 rows; the first with SNAPPY, the second with uncompressed pages marked as ZSTD.
const snappy =
  "UEFSMRUGFUQVRlwVBBUAFQQVABUEFQAAAAMDIDwMAAAAV2hhdCBpcyAyKzI/ARAsTsOpIOKIkSDoqp4/FQYVIhUmXBUEFQAVBBUAFQQVAAAAAwMPOAEAAAA0BgAAACMjIyMgNRUGFUoVOlwVCBUAFQQVABUGFQQAAAMGA/8AIAQBAAkBAAIJBwQAAw0IHAQAAAAAAAAAFQYVYBVAXBUIFQAVBBUAFQgVBAAAAwoDJAkAKlAEAAAAdXNlcgkAAABhc3Npc3RhbnRSFQAVBhU4FTpcFQgVABUEFQAVCBUEAAADCgMkCQAWFAIAAABoaQEGLHlvAQAAAHEBAAAAYRUGFYQBFRhcFQIVABUCFQAVBBUAAAADAUAQPAAAAGHqAQAVBhUEFQZcFQIVAhUCFQAVBBUAAAADAAAVBhUqFS5cFQQVABUCFQAVBhUEAAADAgMPABA8BQAAAAAAAAAGAAAAAAAAABUGFTYVOlwVBBUAFQIVABUIFQQAAAMCAyQAABVQBAAAAHVzZXIJAAAAYXNzaXN0YW50FQYVIBUkXBUEFQAVAhUAFQgVBAAAAwIDJAAACiQBAAAAeAEAAAB5FQQZvEgEcm9vdBUIABUMJQIYCHF1ZXN0aW9uJQAAFQwlAhgGYW5zd2VyJQAANQIYCWlucHV0X2lkcxUCFQYANQQYBGxpc3QVAgAVBCUCGAdlbGVtZW50ADUCGAhtZXNzYWdlcxUCFQYANQQYBGxpc3QVAgA1AhgHZWxlbWVudBUEABUMJQIYBHJvbGUlAAAVDCUCGAdjb250ZW50JQAAFgYZLBlcJggcFQwZFQAZGAhxdWVzdGlvbhUCFgQWbhZwJggAACZ4HBUMGRUAGRgGYW5zd2VyFQIWBBZMFlAmeAAAJsgBHBUEGRUAGTgJaW5wdXRfaWRzBGxpc3QHZWxlbWVudBUCFggWdBZkJsgBAAAmrAIcFQwZFQAZSAhtZXNzYWdlcwRsaXN0B2VsZW1lbnQEcm9sZRUCFggWigEWaiasAgAAJpYDHBUMGRUAGUgIbWVzc2FnZXMEbGlzdAdlbGVtZW50B2NvbnRlbnQVAhYIFmIWZCaWAwAAFpoEFgQ28gMAGVwm+gMcFQwZFQAZGAhxdWVzdGlvbhUCFgIWsAEWRCb6AwAAJr4EHBUMGRUAGRgGYW5zd2VyFQIWAhYuFjAmvgQAACbuBBwVBBkVABk4CWlucHV0X2lkcwRsaXN0B2VsZW1lbnQVAhYEFlQWWCbuBAAAJsYFHBUMGRUAGUgIbWVzc2FnZXMEbGlzdAdlbGVtZW50BHJvbGUVAhYEFmAWZCbGBQAAJqoGHBUMGRUAGUgIbWVzc2FnZXMEbGlzdAdlbGVtZW50B2NvbnRlbnQVAhYEFkoWTiaqBgAAFtwDFgI2/gIAKAloeXBhcnF1ZXQZXBwAABwAABwAABwAABwAAACEAgAAUEFSMQ==";
const zstd =
  "UEFSMRUGFUQVRFwVBBUAFQQVABUEFQAAAAMDDAAAAFdoYXQgaXMgMisyPwwAAABOw6kg4oiRIOiqnj8VBhUiFSJcFQQVABUEFQAVBBUAAAADAwEAAAA0BgAAACMjIyMgNRUGFUoVSlwVCBUAFQQVABUGFQQAAAMGA/8AAQAAAAAAAAACAAAAAAAAAAMAAAAAAAAABAAAAAAAAAAVBhVgFWBcFQgVABUEFQAVCBUEAAADCgMkCQAEAAAAdXNlcgkAAABhc3Npc3RhbnQEAAAAdXNlcgkAAABhc3Npc3RhbnQVBhU4FThcFQgVABUEFQAVCBUEAAADCgMkCQACAAAAaGkCAAAAeW8BAAAAcQEAAABhFQYVhAEVhAFcFQIVABUCFQAVBBUAAAADATwAAABhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWEVBhUEFQRcFQIVAhUCFQAVBBUAAAADABUGFSoVKlwVBBUAFQIVABUGFQQAAAMCAw8ABQAAAAAAAAAGAAAAAAAAABUGFTYVNlwVBBUAFQIVABUIFQQAAAMCAyQAAAQAAAB1c2VyCQAAAGFzc2lzdGFudBUGFSAVIFwVBBUAFQIVABUIFQQAAAMCAyQAAAEAAAB4AQAAAHkVBBm8SARyb290FQgAFQwlAhgIcXVlc3Rpb24lAAAVDCUCGAZhbnN3ZXIlAAA1AhgJaW5wdXRfaWRzFQIVBgA1BBgEbGlzdBUCABUEJQIYB2VsZW1lbnQANQIYCG1lc3NhZ2VzFQIVBgA1BBgEbGlzdBUCADUCGAdlbGVtZW50FQQAFQwlAhgEcm9sZSUAABUMJQIYB2NvbnRlbnQlAAAWBhksGVwmCBwVDBkVABkYCHF1ZXN0aW9uFQwWBBZuFm4mCAAAJnYcFQwZFQAZGAZhbnN3ZXIVDBYEFkwWTCZ2AAAmwgEcFQQZFQAZOAlpbnB1dF9pZHMEbGlzdAdlbGVtZW50FQwWCBZ0FnQmwgEAACa2AhwVDBkVABlICG1lc3NhZ2VzBGxpc3QHZWxlbWVudARyb2xlFQwWCBaKARaKASa2AgAAJsADHBUMGRUAGUgIbWVzc2FnZXMEbGlzdAdlbGVtZW50B2NvbnRlbnQVDBYIFmIWYibAAwAAFpoEFgQ2mgQAGVwmogQcFQwZFQAZGAhxdWVzdGlvbhUMFgIWsgEWsgEmogQAACbUBRwVDBkVABkYBmFuc3dlchUMFgIWLhYuJtQFAAAmggYcFQQZFQAZOAlpbnB1dF9pZHMEbGlzdAdlbGVtZW50FQwWBBZUFlQmggYAACbWBhwVDBkVABlICG1lc3NhZ2VzBGxpc3QHZWxlbWVudARyb2xlFQwWBBZgFmAm1gYAACa2BxwVDBkVABlICG1lc3NhZ2VzBGxpc3QHZWxlbWVudAdjb250ZW50FQwWBBZKFkomtgcAABbeAxYCNt4DACgJaHlwYXJxdWV0GVwcAAAcAAAcAAAcAAAcAAAAhgIAAFBBUjE=";
const bytes = (base64: string) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
const say = (question: string, answer: string) => [
  { role: "user", content: question },
  { role: "assistant", content: answer },
];
const parquetRows = [
  { question: "What is 2+2?", answer: "4", input_ids: [1, 2, 3], messages: say("hi", "yo") },
  { question: "Né ∑ 語?", answer: "#### 5", input_ids: [4], messages: say("q", "a") },
  { question: "a".repeat(60), answer: null, input_ids: [5, 6], messages: say("x", "y") },
];

describe("Parquet", () => {
  it("returns strings, lists and structs as JSON values", async () => {
    const rows = await read("d.parquet", bytes(snappy));
    expect(rows.map(({ row }) => row)).toEqual(parquetRows);
    expect(rows.map(({ number }) => number)).toEqual([1, 2, 3]);
    expect(rows.map((row) => parseRow(row).format)).toEqual(["tokens", "tokens", "tokens"]);
    expect(await values("no-ending", bytes(snappy), { limit: 1 })).toEqual(parquetRows.slice(0, 1));
    expect(await values("d.parquet", bytes(snappy), { limit: 3 })).toEqual(parquetRows);
  });

  it("names the reason for unreadable pages of a codec", async () => {
    await expect(read("d.parquet", bytes(zstd))).rejects.toThrow(
      "d.parquet is damaged in rows 1 to 2: column question: zstd: the page is not a frame",
    );
  });

  const file = (name: string) => new Uint8Array(readFileSync(`${import.meta.dirname}/cases/parquet/${name}.parquet`));
  const text = "Tom has 3 apples and buys 4 more. How many apples has Tom? 7";

  it.each(["zstd", "gzip", "brotli", "lz4"])("undoes %s", async (codec) => {
    expect(await values("d.parquet", file(`text-${codec}`))).toEqual([{ text }, { text }, { text }]);
  });

  it("keeps every digit of an int64", async () => {
    const rows = await values("d.parquet", file("bigint-answer"));
    expect(rows.map((row) => (row as { answer: unknown }).answer)).toEqual([9007199254740993n, 12345678901234567n]);
  });

  it.each(["qa-hang", "parquet-482"])("refuses %s, with one changed byte, at once", async (name) => {
    const spent = cpuTime();
    await expect(read("d.parquet", file(name))).rejects.toThrow(/^d.parquet is damaged in rows .*: column /);
    expect(spent()).toBeLessThan(10);
  });

  it("is refused if it is damaged or another format", async () => {
    const whole = bytes(snappy);
    await expect(read("d.parquet", '{"a":1}')).rejects.toThrow(/^d.parquet is not a Parquet file, or is damaged/);
    await expect(read("d.parquet", new Uint8Array())).rejects.toThrow(FormatError);
    await expect(read("d.parquet", whole.subarray(0, whole.length - 20))).rejects.toThrow(FormatError);
    const holed = Uint8Array.from(whole).fill(0xff, 4, 300);
    await expect(read("d.parquet", holed)).rejects.toThrow(/^d.parquet is damaged in rows 1 to 2/);
    whole[640] = 50; // in the place of a column's description: false
    await expect(read("d.parquet", whole)).rejects.toThrow(
      /^d.parquet is damaged: row group 1 has the columns question, ,/,
    );
  });

  it("neither hangs nor fails without a reason, for a wrong byte anywhere", async () => {
    const whole = bytes(snappy);
    for (let i = 0; i < whole.length; i++) {
      const broken = Uint8Array.from(whole);
      // A changed sign, of a number of children for one, and another bit by turns.
      broken[i]! ^= i % 2 ? 0x01 : 0x50;
      await read("d.parquet", broken).catch((error) => {
        expect(["FormatError", "DataError", "UnsupportedError"], `byte ${i}: ${error}`).toContain(error.name);
      });
    }
  });
});

it("refuses other files by name", async () => {
  await expect(read("d.xlsx", "PK..")).rejects.toThrow(UnsupportedError);
  await expect(read("d.xlsx", "PK..")).rejects.toThrow("Cannot read rows from d.xlsx: its name must end with .jsonl");
  await expect(read("https://host/d.jsonl?download=true", '{"a":1}')).resolves.toHaveLength(1);
});
