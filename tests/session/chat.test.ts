import { beforeAll, describe, expect, it, vi } from "vitest";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import type { Folder } from "../../src/io/storage.ts";
import { AdapterSwitch, answerTo, Conversation, fittedPrompt } from "../../src/session/chat.ts";
import { conversationIds, loadText, prepareText, type TextModel } from "../../src/session/generate.ts";
import { useGpu } from "../kernels/harness.ts";
import { writeRandomAdapter, writeTextModel } from "./text-fixtures.ts";

const device = useGpu();
const LORA = {
  r: 4,
  lora_alpha: 16,
  lora_dropout: 0,
  use_rslora: false,
  target_modules: ["q_proj", "down_proj"],
} as const;
const GREEDY = { temperature: 0, top_k: 0, top_p: 1, min_p: 0, repetition_penalty: 1, max_new_tokens: 8, seed: 1 };
let model: Folder;
let text: TextModel;
let adapters: Folder[];

beforeAll(async () => {
  model = await writeTextModel();
  const sources = { gpu: device(), model };
  text = await loadText(await prepareText(sources), sources);
  adapters = [];
  for (const seed of [1, 2])
    adapters.push(await writeRandomAdapter(memoryFolder(`adapter-${seed}`), model, LORA, seed));
});

describe("a conversation", () => {
  it("drops the oldest turns, never the system message or the question", () => {
    const conversation = new Conversation(text, "be");
    const say = (content: string) => {
      const asked = conversation.ask(content, 10);
      conversation.answer("ok");
      return asked;
    };
    for (let i = 0; i < 3; i++) expect(say("x".repeat(30)).gone).toBe(0);
    const { ids, gone } = say("z".repeat(120));
    expect(gone % 2).toBe(0);
    expect(gone).toBeGreaterThan(0);
    expect(ids.length + 10).toBeLessThanOrEqual(256);
    expect(conversation.messages[0]).toEqual({ role: "system", content: "be" });
    expect(conversation.turns.at(-2)).toEqual({ role: "user", content: "z".repeat(120) });
    expect(conversation.turns[0].role).toBe("user");
  });

  it("does not keep a question that was refused, or that got no answer", () => {
    const conversation = new Conversation(text, null);
    expect(() => conversation.ask("x".repeat(300), 10)).toThrow("Cannot answer: the message has 3");
    expect(conversation.turns).toEqual([]);
    conversation.ask("hello", 10);
    conversation.answer("");
    expect(conversation.turns).toEqual([]);
  });

  it("renders messages unchanged if they all fit", () => {
    const messages = [
      { role: "user", content: "a" },
      { role: "assistant", content: "b" },
      { role: "system", content: "c" },
      { role: "user", content: "d" },
    ];
    expect(fittedPrompt(text, messages, 10)).toEqual({ ids: conversationIds(text, messages), gone: 0 });
    const long = [{ role: "user", content: "x".repeat(200) }, ...messages.slice(1)];
    expect(fittedPrompt(text, long, 10)).toEqual({ ids: conversationIds(text, messages.slice(2)), gone: 2 });
  });
});

/** What the model says. */
async function said(): Promise<string> {
  let words = "";
  const ids = conversationIds(text, [{ role: "user", content: "say" }]);
  for await (const event of answerTo(text, ids, GREEDY)) {
    if (event.type === "text") words += event.text;
    else expect(event.tokens).toBeGreaterThan(0);
  }
  return words;
}

it("sets, removes and replaces an adapter; a failed load changes nothing", async () => {
  const adapter = new AdapterSwitch(text);
  expect([adapter.present, adapter.on]).toEqual([false, false]);
  const base = await said();
  const answers: string[] = [];
  for (const folder of adapters) {
    await adapter.put(folder, folder.path);
    answers.push(await said());
  }
  expect(new Set([base, ...answers]).size).toBe(3);
  adapter.turn(false);
  expect([adapter.present, adapter.on, await said()]).toEqual([true, false, base]);
  await expect(adapter.put(memoryFolder("nothing"), "nothing")).rejects.toThrow();
  expect([adapter.on, await said()]).toEqual([false, base]);
  adapter.turn(true);
  expect(await said()).toBe(answers[1]);

  const open = vi.spyOn(adapters[1], "open");
  await adapter.put(adapters[1], adapters[1].path); // it is there
  expect(open).not.toHaveBeenCalled();
  await adapter.put(adapters[1]);
  expect(open).toHaveBeenCalled();
  expect(await said()).toBe(answers[1]);
  await adapter.put(adapters[0], adapters[0].path);
  expect(await said()).toBe(answers[0]);
});
