import { expect, test } from "vitest";
import type { CurateRequest, PairsEvent, PairsRequest } from "../../src/client/types.ts";
import { roughTokens } from "../../src/data/documents/chunks.ts";
import type { ReadDocument } from "../../src/data/documents/document.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import type { Asker } from "../../src/session/data/ask.ts";
import { DocumentDesk } from "../../workers/session/documents.ts";

// The documents of the page, on a folder in memory and a model that answers from a list.

const WRITER = { kind: "endpoint", url: "http://127.0.0.1", model: "m", key: null } as const;
const REQUEST: PairsRequest = {
  ...{ writer: WRITER, type: "qa", num_pairs: 25, max_seq_length: null, max_generation_tokens: null },
};
const CURATE: CurateRequest = { writer: WRITER, threshold: 7, support: false };

/** Makes two pairs of each chunk, rates the first of a batch 9 and others 5; `positions` of its model. */
function desk(positions = Number.MAX_SAFE_INTEGER) {
  const folder = memoryFolder("documents");
  const prompts: string[] = [];
  const asker: Asker = {
    identity: { model: "m" },
    async *ask(questions) {
      for (const [index, { prompt, shape }] of questions.entries()) {
        prompts.push(prompt);
        const about = /(\w+) (?:lifts|carries)/.exec(prompt)?.[1] ?? "it";
        const pairs = ["first", "second"].map((n) => ({
          question: `What of ${about}, ${n}?`,
          answer: `${about} ${n}`,
        }));
        const marks =
          shape.kind === "marks"
            ? Array.from({ length: shape.count }, (_, i) => ({ id: i + 1, rating: i === 0 ? 9 : 5 }))
            : [];
        const text = JSON.stringify(shape.kind === "marks" ? marks : pairs);
        yield { index, text, prompt_tokens: 1, completion_tokens: 1 };
      }
    },
  };
  const made = new DocumentDesk({
    folder,
    clear: async () => {
      for (const name of await folder.folders()) await folder.removeFolder(name);
    },
    alone: (work) => work(),
    tokens: async () => ({ tokens: roughTokens(), positions }),
    open: async () => ({ asker, end: () => {} }),
  });
  return { made, prompts };
}

const read = (source: string, ...texts: string[]): ReadDocument => ({
  ...{ source, format: "pdf", title: null, notes: [] },
  pages: texts.map((text, i) => ({ page: i + 1, text })),
});
const file = (sha256: string) => ({ sha256, bytes: 10 });

async function all(events: AsyncIterable<PairsEvent>): Promise<PairsEvent[]> {
  const found: PairsEvent[] = [];
  for await (const event of events) found.push(event);
  return found;
}

const keptOf = async (made: DocumentDesk) =>
  (await made.list()).pairs.flatMap(({ kept }) => kept.map(({ question }) => question));

test("documents: the same bytes once, other bytes of the same name beside them, removed with their pairs", async () => {
  const { made } = desk();
  expect(await made.add(read("a.pdf", "A pump lifts."), file("1"))).toMatchObject({
    name: "a",
    source: "a.pdf",
    pages: 1,
  });
  await made.add(read("other.pdf", "A pump lifts."), file("1"));
  expect(await made.add(read("a.pdf", "A crane carries."), file("2"))).toMatchObject({ source: "a (2).pdf" });
  expect((await made.list()).documents.map(({ source }) => source)).toEqual(["a (2).pdf", "a.pdf"]);
  expect(await made.chunks("a", WRITER, REQUEST)).toMatchObject([{ name: "a_0", text: "A pump lifts.", pages: [1] }]);
  await expect(made.chunks("b", WRITER, REQUEST)).rejects.toThrow('There is no document "b"');
  const events = await all(made.make(REQUEST));
  expect(events.at(-1)).toEqual({ type: "end", asked: 2, cached: 0, unread: 0 });
  expect(await keptOf(made)).toHaveLength(4);
  await made.remove("a");
  const left = await made.list();
  expect(left.documents.map(({ source }) => source)).toEqual(["a (2).pdf"]);
  expect(left.pairs.map(({ source }) => source)).toEqual(["a (2).pdf"]);
  await made.remove();
  expect(await made.list()).toEqual({ documents: [], pairs: [] });
});

test("hand-made changes survive curation, a rating belongs to its text, and dropped pairs stay dropped", async () => {
  const { made } = desk();
  await made.add(read("a.pdf", "A pump lifts."), file("1"));
  await made.add(read("b.pdf", "A crane carries."), file("2"));
  await all(made.make(REQUEST));
  const [first] = (await made.list()).pairs;
  const changed = await made.change("a_0", first.kept[0], { pair: { question: "How?", answer: "So." } });
  expect(changed.kept[0]).toEqual({ question: "How?", answer: "So.", rating: null, edited: true });
  await expect(made.change("a_0", first.kept[0], { kept: false })).rejects.toThrow("This pair has changed");
  await expect(made.change("a_0", changed.kept[0], { pair: { question: " ", answer: "x" } })).rejects.toThrow(
    "drop it instead",
  );
  await made.change("b_0", (await made.list()).pairs[1].kept[0], { kept: false });

  await all(made.curate(CURATE));
  let [a, b] = (await made.list()).pairs;
  expect(a.kept).toMatchObject([{ question: "How?", rating: 9 }]);
  expect(a.dropped).toMatchObject([{ reason: "rated 5, below 7" }]);
  expect(b.kept).toEqual([]);
  expect(b.dropped.map(({ reason }) => reason).sort()).toEqual(["dropped by hand", "rated 5, below 7"]);
  await made.change("b_0", b.dropped.find(({ reason }) => reason === "dropped by hand")!, { kept: true });
  [a, b] = (await made.list()).pairs;
  expect(b.kept).toMatchObject([{ question: "What of crane, first?" }]);
  // without ratings, a lower bar keeps the rest; duplicates would go
  await all(made.curate({ ...CURATE, threshold: null }));
  expect(await keptOf(made)).toEqual([
    "How?",
    "What of pump, second?",
    "What of crane, first?",
    "What of crane, second?",
  ]);
});

test("rows: conversations, on request with their origin; making again asks nothing and restores the replies", async () => {
  const { made, prompts } = desk();
  await expect(made.rows(false)).rejects.toThrow("There are no pairs");
  await made.add(read("a.pdf", "A pump lifts."), file("1"));
  await all(made.make(REQUEST));
  const { file: made1, rows } = await made.rows(false);
  expect([made1.name, rows]).toEqual(["a.jsonl", 2]);
  const lines = (await made1.text())
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(lines[0]).toEqual({
    messages: [
      { role: "user", content: "What of pump, first?" },
      { role: "assistant", content: "pump first" },
    ],
  });
  const [line] = (await (await made.rows(true)).file.text()).split("\n");
  expect(JSON.parse(line)).toMatchObject({ source: "a.pdf", chunk: "a_0", pages: [1], rating: null });
  const [{ kept }] = (await made.list()).pairs;
  await made.change("a_0", kept[0], { pair: { question: "How?", answer: "So." } });
  const asked = prompts.length;
  expect((await all(made.make(REQUEST))).at(-1)).toEqual({ type: "end", asked: 0, cached: 1, unread: 0 });
  expect(prompts).toHaveLength(asked);
  expect(await keptOf(made)).toEqual(["What of pump, first?", "What of pump, second?"]);
});

test("a model with few positions gets small chunks and short prompts", async () => {
  const { made, prompts } = desk(256);
  await made.add(read("a.pdf", "The pump lifts. ".repeat(40)), file("1"));
  const chunks = await made.chunks("a", WRITER, REQUEST);
  expect(chunks.length).toBeGreaterThan(5);
  expect(Math.max(...chunks.map(({ tokens }) => tokens))).toBeLessThanOrEqual(32); // 256 − 2·48 − 128
  await all(made.make(REQUEST));
  expect(prompts).toHaveLength(chunks.length);
  expect(prompts[0]).toBe(`Ask about this: ${chunks[0].text}`);
  await expect(made.chunks("a", WRITER, { ...REQUEST, max_seq_length: 200 })).rejects.toThrow("Cannot cut chunks");
});
