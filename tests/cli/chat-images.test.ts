import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Chat } from "../../src/cli/commands/chat.ts";
import { plainText } from "../../src/cli/terminal/plain-text.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import type { Folder } from "../../src/io/storage.ts";
import { nodeImages } from "../../src/platform/node/image-files.ts";
import { loadText, prepareText, promptOf, respond, type TextModel } from "../../src/session/generate.ts";
import { Images } from "../../src/session/images.ts";
import { grey, seeingModel } from "../images.ts";
import { useGpu } from "../kernels/harness.ts";

const device = useGpu();
const root = mkdtempSync(join(tmpdir(), "qwench-chat-images-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const [dark, light] = ["dark.png", "light.png"].map((name) => join(root, name));

const GREEDY = { temperature: 0, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1 };
const SETTINGS = { ...GREEDY, max_new_tokens: 8, seed: 1, stop_strings: [] };

describe("a chat about images", () => {
  let text: TextModel;
  let images: Images;
  let model: Folder;
  beforeAll(async () => {
    writeFileSync(dark, grey(32, 32, 10));
    writeFileSync(light, grey(48, 32, 240));
    model = await seeingModel();
    const sources = { gpu: device(), model, vision: true };
    const prepared = await prepareText(sources);
    text = await loadText(prepared, sources);
    images = (await Images.open(nodeImages(), prepared.checkpoint, prepared.config))!;
  });

  /** The answers and notes of a chat of these lines. */
  async function chat(lines: readonly string[], first: readonly string[], sees = true) {
    const [answers, notes]: string[][] = [[], []];
    const io = {
      lines: (async function* () {
        yield* lines;
      })(),
      say: (words: string) => void answers.push(answers.pop() + words),
      note: (line: string) => void notes.push(line),
      answering: () => {
        answers.push("");
        return { signal: new AbortController().signal, done: () => {} };
      },
    };
    const hub = { cache: memoryFolder("hub"), hubUrl: "http://127.0.0.1:9" };
    const made = new Chat(text, io, { settings: SETTINGS, stop: [], system: null, hub, images: sees ? images : null });
    for (const file of first) await made.look(file);
    const failed = await made.run();
    return { answers: answers.map((answer) => answer.replace(/\n$/, "")), notes: notes.join("\n"), failed };
  }

  /** What the model answers to these turns with images. */
  async function answerTo(messages: object[]): Promise<string> {
    const source = { row: { messages }, number: 1, file: join(root, "rows.jsonl") };
    const row = await images.row(source);
    const prompt = { ...promptOf(text, row), images: await images.seen(text.model, row) };
    for await (const event of respond(text, [prompt], SETTINGS)) {
      if (event.type === "response") return event.made.text;
    }
    throw new Error("no answer");
  }

  const user = (words: string, ...files: string[]) => ({
    role: "user",
    content: [...files.map((image) => ({ type: "image", image })), { type: "text", text: words }],
  });

  it("answers as rows with the same images do, over several turns", async () => {
    const { answers, notes, failed } = await chat(["what?", `/image ${light}`, "and this?"], [dark]);
    expect(failed).toBe(false);
    expect(notes).toContain(`The next message is about ${light}.`);
    const shown = (answer: string) => plainText(answer).replace(/\n$/, "");
    const first = await answerTo([user("what?", dark)]);
    expect(answers[0]).toBe(shown(first));
    const turns = [user("what?", dark), { role: "assistant", content: first }, user("and this?", light)];
    expect(answers[1]).toBe(shown(await answerTo(turns)));
    expect(first).not.toBe(await answerTo([user("what?", light)]));
  });

  it("is saved as a row that names its images", async () => {
    const file = join(root, "saved.jsonl");
    await chat(["what?", `/save ${file}`], [dark]);
    const { messages } = JSON.parse(readFileSync(file, "utf8"));
    expect(messages[0]).toEqual({
      role: "user",
      content: [
        { type: "image", image: dark },
        { type: "text", text: "what?" },
      ],
    });
    expect((await images.row({ row: { messages }, number: 1, file })).images).toHaveLength(1);
  });

  it("says what it cannot see", async () => {
    writeFileSync(join(root, "no.png"), "<svg/>");
    const { notes, failed } = await chat([`/image ${join(root, "no.png")}`, "/image gone.png"], []);
    expect(failed).toBe(true);
    expect(notes).toContain("PNG, JPEG and WebP are read, and it is an SVG or XML text");
    expect(notes).toContain("gone.png");
    expect((await chat([`/image ${dark}`], [], false)).notes).toContain("the model has no vision tower");
  });
});
