import { parquetReadObjects } from "hyparquet";
import { describe, expect, it } from "vitest";
import { roughTokens } from "../../../src/data/documents/chunks.ts";
import { DATA_DEFAULTS } from "../../../src/data/documents/config.ts";
import { memoryFolder } from "../../../src/io/memory-folder.ts";
import type { Asker, NumberedQuestion, Reply } from "../../../src/session/data/ask.ts";
import { DataFolder } from "../../../src/session/data/folder.ts";
import { saveRows, writeReport } from "../../../src/session/data/save.ts";
import { createPairs, curatePairs, ingestDocument } from "../../../src/session/data/stages.ts";
import { contents } from "../../train/fixtures.ts";

const signal = new AbortController().signal;
const config = { ...DATA_DEFAULTS, max_seq_length: 128 + 40 + 60, max_generation_tokens: 20, overlap: 20 };
const document = (source: string, text: string) => ({
  ...{ source, format: "txt" as const, title: null, notes: [] },
  pages: [{ page: 1, text }],
});
const FACTS = Array.from(
  { length: 30 },
  (_, i) => `Fact ${i}: station ${String.fromCharCode(65 + i)} opened in ${1900 + i}.`,
).join("\n");

/** A model that turns each fact of a chunk into a pair, and rates by the year; `replies` replaces its first replies. */
function asker(replies: string[] = [], limit = Number.POSITIVE_INFINITY) {
  const asked: NumberedQuestion[] = [];
  const reply = ({ prompt, shape }: NumberedQuestion): string => {
    if (shape.kind === "text") return "A summary.";
    if (shape.kind === "pairs") {
      const facts = [...prompt.matchAll(/station (\w) opened in (\d{4})/g)];
      return JSON.stringify(
        facts.map(([, name, year]) => ({ question: `When did station ${name} open?`, answer: `In ${year}.` })),
      );
    }
    const pairs = [...prompt.matchAll(/"id":(\d+).*?In (\d{4})/g)];
    if (shape.field === "supported")
      return JSON.stringify(pairs.map(([, id, year]) => ({ id: Number(id), supported: year !== "1910" })));
    return JSON.stringify(pairs.map(([, id, year]) => ({ id: Number(id), rating: Number(year) < 1905 ? 3 : 9 })));
  };
  const model: Asker = {
    identity: { model: "stand-in" },
    async *ask(questions): AsyncGenerator<Reply> {
      for (const [index, question] of questions.entries()) {
        if (asked.length >= limit) throw new Error("killed");
        asked.push(question);
        yield { index, text: replies.shift() ?? reply(question), prompt_tokens: 1, completion_tokens: 1 };
      }
    },
  };
  return { model, asked };
}

async function filled(): Promise<DataFolder> {
  const data = new DataFolder(memoryFolder());
  await ingestDocument(data, document("a.txt", FACTS), new Uint8Array([1]));
  return data;
}

const context = (data: DataFolder, model: Asker) => ({
  data,
  asker: model,
  config,
  signal,
  tokens: roughTokens(),
  type: "qa" as const,
});

describe("from documents to rows", () => {
  it("creates, curates with reasons, and saves every format", async () => {
    const data = await filled();
    const { model } = asker();
    const { files } = await createPairs(context(data, model));
    expect(files.length).toBeGreaterThan(5);
    expect(files[0]).toMatchObject({ source: "a.txt", chunk: "a_0", pages: [1], type: "qa", unread: [] });
    expect(await data.folder.folder("output").list()).toContain("a_0.txt");
    const curated = await curatePairs({
      ...context(data, model),
      config: { ...config, threshold: 7 },
      rate: true,
      support: true,
    });
    const dropped = curated.files.flatMap((file) => file.dropped);
    expect(new Set(dropped.map(({ reason }) => reason?.replace(/".*"/, "…")))).toEqual(
      new Set(["rated 3, below 7", "the text does not support the answer", "duplicate of …"]),
    );
    const kept = curated.files.flatMap((file) => file.qa_pairs);
    const all = files.flatMap((file) => file.qa_pairs);
    expect(kept.length + dropped.length).toBe(all.length); // nothing is lost silently
    expect(new Set(kept.map(({ question }) => question)).size).toBe(kept.length);
    expect(kept.length).toBeGreaterThanOrEqual(20);

    const rowsIn = async (name: string) =>
      (await data.folder.folder("final").readText(name))
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
    const options = { metadata: true, split: 0.25, model: "m" };
    await saveRows(data, { ...options, format: "messages" });
    const [train, test] = [await rowsIn("train.jsonl"), await rowsIn("test.jsonl")];
    expect(train.length + test.length).toBe(kept.length);
    expect(test).toHaveLength(Math.round(kept.length / 4));
    expect(train[0]).toMatchObject({
      messages: [{ role: "user" }, { role: "assistant" }],
      source: "a.txt",
      pages: [1],
      rating: 9,
    });
    await saveRows(data, { ...options, format: "alpaca", split: 0, metadata: false });
    expect(Object.keys((await rowsIn("train.jsonl"))[0])).toEqual(["instruction", "input", "output"]);
    expect(await data.folder.folder("final").list()).toEqual(["README.md", "train.jsonl"]); // the test part is gone
    await saveRows(data, { ...options, format: "chatml", split: 0 });
    expect((await rowsIn("train.jsonl"))[0].text).toMatch(/^<\|im_start\|>user\n.*<\|im_end\|>\n$/s);
    await saveRows(data, { ...options, format: "parquet", split: 0 });
    const file = await (await data.folder.folder("final").open("train.parquet")).read(
      0,
      await (await data.folder.folder("final").open("train.parquet")).size,
    );
    const rows = await parquetReadObjects({ file: file.buffer as ArrayBuffer });
    expect(rows).toHaveLength(kept.length);
    expect(rows[0].messages).toEqual([
      { role: "user", content: kept[0].question },
      { role: "assistant", content: kept[0].answer },
    ]);
    await writeReport(data);
    expect(await data.folder.readText("report.html")).toContain("rated 3, below 7");
    expect(await data.folder.folder("final").readText("README.md")).toMatch(
      /path: train.parquet[\s\S]*with the model m/,
    );
  });

  it("asks again for what cannot be read, then keeps it aside", async () => {
    const data = await filled();
    const { model, asked } = asker(["no", "[["]);
    const { files, usage } = await createPairs(context(data, model));
    expect(asked).toHaveLength(files.length + 2);
    expect(usage).toMatchObject({ asked: files.length + 2, unread: 0 });
    expect(files[0].unread).toEqual(["no"]);
    expect(files[0].qa_pairs.length).toBeGreaterThan(0);
    const bad = asker(["no", ...new Array(files.length - 1).fill("{}"), ...new Array(files.length).fill("neither")]);
    const worst = await createPairs({ ...context(await filled(), bad.model) });
    expect(worst.usage.unread).toBe(files.length);
    expect(worst.files[0]).toMatchObject({ qa_pairs: [], unread: ["no", "neither"] });
  });

  it("continues after it was killed at any reply, with the same bytes", async () => {
    const whole = await filled();
    await createPairs(context(whole, asker().model));
    await curatePairs({ ...context(whole, asker().model), rate: true, support: false });
    const wanted = await contents(whole.folder);
    const total = asker();
    await createPairs(context(await filled(), total.model));
    for (let limit = 0; limit <= total.asked.length; limit += 3) {
      const data = await filled();
      await createPairs(context(data, asker([], limit).model)).catch(() => {});
      await data.folder.append("replies.jsonl", '{"key": "cut o'); // a line that a killed process left
      const rest = asker();
      await createPairs(context(data, rest.model));
      expect(rest.asked.length).toBe(total.asked.length - Math.min(limit, total.asked.length));
      await curatePairs({ ...context(data, asker([], 2).model), rate: true, support: false }).catch(() => {});
      await curatePairs({ ...context(data, asker().model), rate: true, support: false });
      expect(await contents(data.folder)).toEqual(wanted);
    }
  });

  it("asks anew where the prompt or the model has changed, and removes chunks that are gone", async () => {
    const data = await filled();
    const first = asker();
    await createPairs(context(data, first.model));
    const again = asker();
    await createPairs(context(data, again.model));
    expect(again.asked).toHaveLength(0);
    const other = asker();
    await createPairs({ ...context(data, { ...other.model, identity: { model: "other" } }) });
    expect(other.asked).toHaveLength(first.asked.length);
    const larger = { ...config, max_seq_length: 1000 };
    await createPairs({ ...context(data, asker().model), config: larger });
    const names = await data.folder.folder("output").list();
    expect(names.filter((name) => /_\d+\.txt$/.test(name))).toEqual(["a_0.txt"]);
    expect(await data.folder.folder("generated").list()).toEqual(["a_0_qa_pairs.json"]);
  });

  it("forgets curated pairs once other pairs are made, and keeps them when the same command runs again", async () => {
    const data = await filled();
    await createPairs(context(data, asker().model));
    await curatePairs({ ...context(data, asker().model), rate: true, support: false });
    await createPairs(context(data, asker().model));
    expect((await data.cleaned()).length).toBeGreaterThan(0);
    await createPairs({ ...context(data, asker().model), config: { ...config, max_seq_length: 1000 } });
    expect(await data.cleaned()).toEqual([]);
  });

  it("summaries become rows, and hand-made changes count", async () => {
    const data = await filled();
    await createPairs({
      ...context(data, asker().model),
      type: "summary",
      config: { ...config, max_seq_length: 1000 },
    });
    const generated = data.folder.folder("generated");
    const file = JSON.parse(await generated.readText("a_0_qa_pairs.json"));
    expect(file.summary).toBe("A summary.");
    file.qa_pairs[0].answer = "By hand.";
    await generated.write("a_0_qa_pairs.json", JSON.stringify(file));
    await curatePairs({ ...context(data, asker().model), rate: true, support: false });
    await saveRows(data, { format: "jsonl", metadata: false, split: 0, model: null });
    expect(JSON.parse(await data.folder.folder("final").readText("train.jsonl")).answer).toBe("By hand.");
    await generated.write("a_0_qa_pairs.json", JSON.stringify({ qa_pairs: [{ question: 1 }] }));
    await expect(data.generated()).rejects.toThrow(/qa_pairs\[0\] must be \{question, answer\}/);
  });

  it("names documents without collisions and without leaving the folder", async () => {
    const data = new DataFolder(memoryFolder());
    const names = [];
    for (const source of [
      "x/a.txt",
      "y/a.md",
      "x/a.txt",
      "../../etc/passwd",
      "https://h/b.html?q=1",
      "..",
      "日本.pdf",
    ]) {
      names.push((await ingestDocument(data, document(source, "text"), new Uint8Array())).name);
    }
    expect(names).toEqual(["a", "a-2", "a", "passwd", "b", "document", "日本"]);
  });
});
