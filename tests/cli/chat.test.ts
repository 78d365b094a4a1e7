import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Chat } from "../../src/cli/commands/chat.ts";
import { readRows } from "../../src/data/dataset.ts";
import { AbortError } from "../../src/errors.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { nodeFile, nodeFolder } from "../../src/platform/node/fs.ts";
import { conversationIds, loadText, prepareText, respond, type TextModel } from "../../src/session/generate.ts";
import { useGpu } from "../kernels/harness.ts";
import { writeRandomAdapter, writeTextModel } from "../session/text-fixtures.ts";

const device = useGpu();
let root: string;
let text: TextModel;

const GREEDY = {
  temperature: 0,
  top_k: 0,
  top_p: 1,
  min_p: 0,
  repetition_penalty: 1,
  max_new_tokens: 10,
  seed: 1,
  stop_strings: [],
};

/** A chat of these lines: what the model said to each, what Qwench said, and whether a line failed. */
async function chat(
  lines: readonly string[],
  { model = text, settings = {}, system = null as string | null, stopAfter = Number.POSITIVE_INFINITY } = {},
) {
  const [answers, notes]: string[][] = [[], []];
  let abort = new AbortController();
  const io = {
    lines: (async function* () {
      yield* lines;
    })(),
    say: (words: string) => {
      answers.push(answers.pop() + words);
      if (answers[0].length >= stopAfter) abort.abort(new AbortError("Interrupted"));
    },
    note: (line: string) => void notes.push(line),
    answering: () => {
      abort = new AbortController();
      answers.push("");
      return { signal: abort.signal, done: () => {} };
    },
  };
  const failed = await new Chat(model, io, {
    settings: { ...GREEDY, ...settings },
    stop: [],
    system,
    hub: { cache: memoryFolder("hub"), hubUrl: "http://127.0.0.1:9" },
  }).run();
  return { answers, notes: notes.join("\n"), failed };
}

/** What the model answers to these turns. */
async function answerTo(turns: { role: string; content: string }[]): Promise<string> {
  for await (const event of respond(text, [{ prompt_ids: conversationIds(text, turns) }], GREEDY)) {
    if (event.type === "response") return event.made.text;
  }
  throw new Error("no answer");
}

/** An answer as it is shown: it ends a line. */
const line = (answer: string) => (answer.endsWith("\n") ? answer : `${answer}\n`);

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "qwench-chat-"));
  const model = await writeTextModel();
  const sources = { gpu: device(), model };
  text = { ...(await loadText(await prepareText(sources), sources)), eos_token_ids: [] }; // answers of a known length
  await writeRandomAdapter(nodeFolder(join(root, "adapter")), model, {
    r: 4,
    lora_alpha: 8,
    lora_dropout: 0,
    use_rslora: false,
    target_modules: ["q_proj", "down_proj"],
  });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
beforeEach(() => {
  rmSync(join(root, "chat.jsonl"), { force: true });
});

describe("a chat", () => {
  it("remembers the conversation", async () => {
    const user = (content: string) => ({ role: "user", content });
    const one = await answerTo([user("hello")]);
    const two = await answerTo([user("hello"), { role: "assistant", content: one }, user("and?")]);
    const { answers, failed } = await chat(["hello", "", "and?", "/exit", "never"]);
    expect(answers).toEqual([line(one), line(two)]);
    expect(failed).toBe(false);
    expect((await chat(["hello", "/reset", "hello"])).answers).toEqual([line(one), line(one)]);
    const be = await answerTo([{ role: "system", content: "be" }, user("hello")]);
    expect((await chat(["hello"], { system: "be" })).answers).toEqual([line(be)]);
    expect((await chat(["/system be", "hello"])).answers).toEqual([line(be)]);
    expect((await chat(["/system", "hello"], { system: "be" })).answers).toEqual([line(one)]);
  });

  it("sets, removes and swaps an adapter", async () => {
    const swaps = ["/adapter off", "/adapter on", "/adapter off"];
    const { answers, notes, failed } = await chat([
      ...["/adapter", "hello", `/adapter ${join(root, "adapter")}`, "/reset", "hello"],
      ...swaps.flatMap((swap) => [swap, "/reset", "hello"]),
    ]);
    const [base, on] = answers;
    expect(answers).toEqual([base, on, base, on, base]);
    expect(on).not.toBe(base);
    expect(notes).toMatch(/^There is no adapter\./);
    expect(notes).toMatch(/The adapter is on\.[\s\S]*The adapter is off\.[\s\S]*The adapter is on\./);
    expect(failed).toBe(false);
  });

  it("compares the base with the adapter, each from its own history, which /adapter off continues", async () => {
    const user = (content: string) => ({ role: "user", content });
    const assistant = (content: string) => ({ role: "assistant", content });
    const one = await answerTo([user("hello")]);
    const two = await answerTo([user("hello"), assistant(one), user("and?")]);
    const three = await answerTo([user("hello"), assistant(one), user("and?"), assistant(two), user("more")]);
    const use = `/adapter ${join(root, "adapter")}`;
    const { answers, notes } = await chat([use, "/compare", "hello", "and?", "/compare off", "/adapter off", "more"]);
    expect(answers).toHaveLength(5);
    expect([answers[0], answers[2], answers[4]]).toEqual([one, two, three].map(line));
    expect([answers[1], answers[3]]).toEqual((await chat([use, "hello", "and?", "/adapter off"])).answers);
    expect(answers[1]).not.toBe(answers[0]);
    expect(notes.match(/With(out)? the adapter:/g)).toEqual(
      [0, 1, 0, 1].map((on) => `With${on ? "" : "out"} the adapter:`),
    );
    expect(notes).toContain("The adapter is off. It has its own history of 4 turns.");
    const none = await chat(["/compare", "/compare maybe"]);
    expect(none.failed).toBe(true);
    expect(none.notes).toContain("There is nothing to compare: name an adapter with /adapter PATH");
  });

  it("changes its settings, and shows them", async () => {
    const { notes, answers } = await chat(["/max_new_tokens 3", "/temperature", "/seed 12", "hello"]);
    expect(notes).toBe("max_new_tokens is 3\ntemperature is 0\nseed is 12\n(cut after 3 tokens)");
    expect(line(await answerTo([{ role: "user", content: "hello" }]))).toContain(answers[0].trimEnd());
    const help = (await chat(["/help"])).notes;
    for (const name of ["/reset", "/system", "/adapter", "/compare", "/temperature", "/save", "/exit"])
      expect(help).toContain(name);
  });

  it("continues after an invalid command", async () => {
    const { notes, answers, failed } = await chat([
      "/temprature 1",
      "/top_p 7",
      "/adapter on",
      "/adapter /nowhere",
      "/save",
      "/save x",
      "hello",
    ]);
    expect(failed).toBe(true);
    expect(notes).toContain("There is no command /temprature: did you mean /temperature?");
    expect(notes).toContain('/top_p must be a number between 0 and 1, got "7"');
    expect(notes).toContain("There is no adapter to switch on");
    expect(notes).toContain("Cannot load /nowhere: there is no such file or folder");
    expect(notes).toContain("/save needs a file name");
    expect(notes).toContain("There is nothing to save yet");
    expect(answers).toEqual((await chat(["hello"])).answers);
  });

  it("keeps the beginning of a stopped answer", async () => {
    const file = join(root, "chat.jsonl");
    const settings = { max_new_tokens: 200 };
    const { answers, notes } = await chat(["hello", `/save ${file}`], { settings, stopAfter: 5 });
    expect(notes).toContain("(stopped)");
    expect(answers[0].length).toBeLessThan(60);
    const { messages } = JSON.parse(readFileSync(file, "utf8"));
    expect(line(messages[1].content)).toBe(answers[0]);
  });

  it("is saved as a training row, and never overwrites a file", async () => {
    const file = join(root, "chat.jsonl");
    const { notes } = await chat(["hello", `/save ${file}`, "more", `/save ${file}`], { system: "be" });
    expect(notes).toContain(`Saved 4 turns: ${file}`);
    const rows = [];
    for await (const { row } of readRows(await nodeFile(file))) rows.push(row);
    expect(rows).toHaveLength(1);
    const roles = (rows[0].messages as { role: string }[]).map(({ role }) => role);
    expect(roles).toEqual(["system", "user", "assistant", "user", "assistant"]);
    writeFileSync(file, "mine");
    expect((await chat(["hello", `/save ${file}`])).notes).toContain(`${file} exists: use /save with another name`);
    expect(readFileSync(file, "utf8")).toBe("mine");
    expect(existsSync(file)).toBe(true);
  });

  it("keeps the model's control characters from the terminal", async () => {
    const { answers } = await chat(["hello"]);
    const wild = answers[0].trim()[0];
    const decode: TextModel["tokenizer"]["decode"] = (ids, options) =>
      text.tokenizer.decode(ids, options).replaceAll(wild, "\u001b");
    const tamed = await chat(["hello"], { model: { ...text, tokenizer: { ...text.tokenizer, decode } } });
    expect(tamed.answers).toEqual([line(answers[0].replaceAll(wild, ""))]);
  });

  it("drops its oldest turns, with a note, if the model has no more positions", async () => {
    const long = "x".repeat(50);
    const { notes, answers, failed } = await chat([long, long, long, long, "y".repeat(300), "hello"], { system: "be" });
    expect(notes.match(/Dropped the oldest 2 turns: the model has 256 positions\./g)!.length).toBeGreaterThan(0);
    expect(notes).toMatch(/Cannot answer: the message has 3\d\d tokens, and the model has 256 positions/);
    expect(failed).toBe(true);
    expect(answers).toHaveLength(5);
  });
});
