import { beforeAll, describe, expect, it } from "vitest";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import {
  conversationIds,
  loadText,
  type PreparedText,
  prepareText,
  promptOf,
  type RespondOptions,
  respond,
  setAdapter,
  type TextModel,
  type TextResponse,
} from "../../src/session/generate.ts";
import { beginRunFile, bf16OfRun, type RunFacts } from "../../src/session/run-file.ts";
import { tinyTokenizerFiles } from "../data/fixtures.ts";
import { useGpu } from "../kernels/harness.ts";
import { TEXT_SPEC, writeRandomAdapter, writeTextModel } from "./text-fixtures.ts";

const device = useGpu();
let text: TextModel;

const OPTIONS: RespondOptions = {
  temperature: 1,
  top_k: 0,
  top_p: 1,
  min_p: 0,
  repetition_penalty: 1,
  max_new_tokens: 24,
  seed: 1,
};
const source = (row: Record<string, unknown>, number = 3) => ({ row, number, file: "rows.jsonl" });
const prompts = (...words: string[]) => words.map((prompt) => promptOf(text, source({ prompt })));

/** All responses, by prompt and number; checks that the pieces add up to them. */
async function all(rows: Parameters<typeof respond>[1], options: Partial<RespondOptions> = {}, from = text) {
  const made: TextResponse[][] = rows.map(() => []);
  const pieces: Record<string, string> = {};
  const counts: Record<string, number> = {};
  for await (const event of respond(from, rows, { ...OPTIONS, ...options })) {
    const key = `${event.prompt}.${event.response}`;
    if (event.type === "text") {
      pieces[key] = (pieces[key] ?? "") + event.text;
      counts[key] = (counts[key] ?? 0) + event.tokens;
      continue;
    }
    made[event.prompt][event.response] = event.made;
    expect(event.made.text).toBe(pieces[key]);
    expect(event.made.ids.length).toBe(counts[key]);
  }
  return made;
}

beforeAll(async () => {
  const sources = { gpu: device(), model: await writeTextModel() };
  text = await loadText(await prepareText(sources), sources);
});

describe("responses", () => {
  it("arrive in pieces, n per prompt, and do not depend on the rest of the batch", async () => {
    const rows = prompts("one", "two", "three");
    const made = await all(rows, { n: 3 });
    for (const response of made.flat()) {
      expect(response.text).toBe(text.tokenizer.decode(response.ids, { skip_special_tokens: true }));
      expect(response.logps.length).toBe(response.ids.length);
    }
    expect(new Set(made.flat().map((response) => response.text)).size).toBe(9);
    const [alone] = await all([{ ...rows[2], number: 2 }], { n: 1 });
    expect(alone[0]).toEqual(made[2][0]);
    expect(await all(rows, { n: 3, slots: 2, pace: 1e-3 })).toEqual(made);
    expect((await all(rows, { seed: 2 }))[0][0].ids).not.toEqual(made[0][0].ids);
  });

  it("end before a stop string, whose last token still counts", async () => {
    const rows = prompts("one", "two", "three", "four");
    const free = (await all(rows)).map(([response]) => response);
    const stop = free.filter((response) => response.text.length > 8).map((response) => response.text.slice(5, 8));
    expect(stop.length).toBeGreaterThan(1);
    const made = (await all(rows, { stop })).map(([response]) => response);
    for (const [i, response] of made.entries()) {
      const found = stop.map((s) => free[i].text.indexOf(s)).filter((at) => at >= 0);
      if (found.length === 0) {
        expect(response).toEqual(free[i]);
        continue;
      }
      expect(response.text).toBe(free[i].text.slice(0, Math.min(...found)));
      expect(response.finish_reason).toBe("stop");
      expect(response.ids).toEqual(free[i].ids.slice(0, response.ids.length));
      expect(stop.some((s) => text.tokenizer.decode(response.ids).endsWith(s))).toBe(true);
    }
  });

  it("end with the token that completes one of transformers' stop strings, and include it", async () => {
    const rows = prompts("one", "two", "three", "four");
    const free = (await all(rows)).map(([response]) => response);
    const stop_strings = free.filter(({ text }) => text.length > 8).map(({ text }) => text.slice(5, 8));
    const made = (await all(rows, { stop_strings })).map(([response]) => response);
    expect(made.filter(({ ids }, i) => ids.length < free[i].ids.length).length).toBeGreaterThan(1);
    for (const [i, { ids, text: written, finish_reason }] of made.entries()) {
      const textOf = (count: number) => text.tokenizer.decode(free[i].ids.slice(0, count));
      const holds = (count: number) => stop_strings.some((one) => textOf(count).includes(one));
      const end = free[i].ids.findIndex((_, at) => holds(at + 1));
      expect(ids).toEqual(end < 0 ? free[i].ids : free[i].ids.slice(0, end + 1));
      expect(written).toBe(text.tokenizer.decode(ids, { skip_special_tokens: true }));
      if (end >= 0) expect(finish_reason).toBe("stop");
    }
  });

  it("end at any EOS id, which is not in their text", async () => {
    const rows = prompts("one", "two", "three", "four");
    const free = (await all(rows)).map(([response]) => response);
    const ids = free.map((response) => response.ids[3]); // ordinary tokens, as some models have
    const eos_token_ids = [...text.eos_token_ids, ...ids];
    const made = (await all(rows, {}, { ...text, eos_token_ids })).map(([response]) => response);
    made.forEach((response, i) => {
      const at = free[i].ids.findIndex((id) => eos_token_ids.includes(id));
      expect(response).toMatchObject({ ids: free[i].ids.slice(0, at + 1), finish_reason: "stop" });
      expect(response.text).toBe(text.tokenizer.decode(free[i].ids.slice(0, at), { skip_special_tokens: true }));
    });
  });

  it("end at the model's last position", async () => {
    const long = promptOf(text, source({ prompt: "x".repeat(230) }));
    const [[made]] = await all([long], { max_new_tokens: 500 }, { ...text, eos_token_ids: [] });
    expect(made.finish_reason).toBe("length");
    expect(long.prompt_ids.length + made.ids.length).toBe(256);
  });

  it("equal the base model's after the adapter is removed", async () => {
    const model = await writeTextModel();
    const adapter = await writeRandomAdapter(memoryFolder("adapter"), model, {
      r: 4,
      lora_alpha: 8,
      lora_dropout: 0,
      use_rslora: false,
      target_modules: ["q_proj", "up_proj"],
    });
    const sources = { gpu: device(), model, adapter };
    const tuned = await loadText(await prepareText(sources), sources);
    const say = async (from: TextModel) => {
      let said = "";
      const rows = prompts("one", "two");
      for await (const event of respond(from, rows, { ...OPTIONS, temperature: 0 })) {
        if (event.type === "response") said += `${event.made.text}\n`;
      }
      return said;
    };
    const [base, on] = [await say(text), await say(tuned)];
    setAdapter(tuned.model, null);
    const off = await say(tuned);
    setAdapter(tuned.model, tuned.adapter);
    expect([off, await say(tuned)]).toEqual([base, on]);
    expect(on).not.toBe(base);
  });
});

describe("prompts", () => {
  const seen = (row: Record<string, unknown>, options = {}) => promptOf(text, source(row), options).text;
  const user = (words: string, system = "") => `${system}<|im_start|>user\n${words}<|im_end|>\n<|im_start|>assistant\n`;

  it("are a user's turn, a conversation without its last answer, or plain text", () => {
    expect(seen({ prompt: "hi" })).toBe(user("hi"));
    expect(seen({ question: "hi", answer: "no" })).toBe(user("hi"));
    const turns = [
      { role: "user", content: "hi" },
      { role: "assistant", content: "ho" },
    ];
    expect(seen({ messages: turns })).toBe(user("hi"));
    expect(
      seen({
        conversations: [
          { from: "human", value: "hi" },
          { from: "gpt", value: "ho" },
        ],
      }),
    ).toBe(user("hi"));
    expect(seen({ prompt: turns.slice(0, 1) })).toBe(user("hi"));
    expect(seen({ messages: [...turns, turns[0]] })).toContain("ho<|im_end|>\n<|im_start|>user\nhi");
    expect(seen({ prompt: "hi" }, { system: "be" })).toBe(user("hi", "<|im_start|>system\nbe<|im_end|>\n"));
    expect(seen({ prompt: "hi" }, { raw: true })).toBe("hi");
  });

  it.each([
    [{}, {}, "it needs prompt, question, problem or instruction"],
    [{ prompt: "" }, {}, '"prompt" is empty'],
    [{ question: "" }, { raw: true }, '"question" is empty'],
    [{ messages: [{ role: "assistant", content: "ho" }] }, {}, '"prompt" has no messages'],
    [{ messages: [] }, { raw: true }, "raw text comes from prompt, question or problem"],
    [{ prompt: "x".repeat(300) }, {}, /the prompt has 3\d\d tokens, and the model has 256 positions/],
  ])("%j is refused with its row's number", (row, options, message) => {
    expect(() => seen(row, options)).toThrow(message);
    expect(() => seen(row, options)).toThrow(/^rows\.jsonl, row 3: /);
  });

  it("need a template, unless they are raw", () => {
    const plain: PreparedText = { ...text, chat_template: null };
    expect(() => promptOf(plain, source({ prompt: "hi" }))).toThrow(
      "row 3: needs a chat template, and the model has none",
    );
    expect(promptOf(plain, source({ prompt: "hi" }), { raw: true }).prompt_ids.length).toBe(2);
    expect(() => conversationIds(plain, [])).toThrow("the model has no chat template");
  });
});

describe("the setting bf16", () => {
  const facts = (recipe: string): RunFacts => ({
    ...{ version: 1, method: "sft", model: "m", data: "d", recipe, max_steps: 1, device: "gpu" },
    ...{ began: "2026-01-01T00:00:00.000Z", ended: null, status: "running", problem: null },
  });

  it("keeps keys and values as bf16, which halves their memory, and is f32 otherwise", async () => {
    const model = await writeTextModel();
    const peakWith = async (bf16: boolean) => {
      const gpu = device().again();
      const sources = { gpu, model, bf16 };
      const made = await loadText(await prepareText(sources), sources);
      expect(gpu.activations).toBe(bf16 ? "bf16" : "f32");
      let said = 0;
      for await (const event of respond(made, prompts("one"), { ...OPTIONS, temperature: 0 }))
        if (event.type === "response") said++;
      expect(said).toBeGreaterThan(0);
      const { kv_cache } = gpu.pool.ledger.peakByKind;
      await gpu.clear();
      return kv_cache!;
    };
    expect(await peakWith(true)).toBeLessThan(0.75 * (await peakWith(false)));
  });

  it("is that of the run that wrote a folder", async () => {
    const of = async (recipe: string | null) => {
      const folder = memoryFolder("run");
      if (recipe !== null) await beginRunFile(folder, facts(recipe), false);
      return bf16OfRun(folder);
    };
    expect(await of("bf16: true\nlora_r: 8\n")).toBe(true);
    expect(await of("lora_r: 8\n")).toBe(false);
    expect([await of(null), await of("no recipe at all: [")]).toEqual([null, null]);
  });
});

describe("a model", () => {
  const prepare = async (...options: Parameters<typeof writeTextModel>) =>
    prepareText({ gpu: device(), model: await writeTextModel(...options) });

  it("ends at every EOS of its files, and at the end of a turn of its template", async () => {
    expect(text.eos_token_ids).toEqual([98, 100]);
    const folder = await writeTextModel(memoryFolder("base"), { generation: { eos_token_id: 98 } });
    const config = JSON.parse(tinyTokenizerFiles().tokenizerConfig);
    await folder.write("tokenizer_config.json", JSON.stringify({ ...config, eos_token: "<|endoftext|>" }));
    expect((await prepareText({ gpu: device(), model: folder })).eos_token_ids).toEqual([98, 100]);
  });

  it("is refused with the reason", async () => {
    const generation = { eos_token_id: [100, 500] };
    await expect(prepare(memoryFolder("eos"), { generation })).rejects.toThrow(
      /eos_token_id 500 of .*: it is outside the vocabulary of 101/,
    );
    const folder = await writeTextModel(memoryFolder("mute"));
    await folder.remove("tokenizer.json");
    await expect(prepareText({ gpu: device(), model: folder })).rejects.toThrow(/mute: it has no tokenizer\.json/);
    const small = { gpu: device(), model: await writeTextModel(), available: 1000 };
    await expect(prepareText(small)).rejects.toThrow(/its weights need [\d.]+ KiB and 1000 B are available/);
    const other = await writeTextModel(memoryFolder("other"), { spec: { ...TEXT_SPEC, hidden_size: 32 } });
    const adapter = await writeRandomAdapter(memoryFolder("adapter"), other, {
      r: 2,
      lora_alpha: 4,
      lora_dropout: 0,
      use_rslora: false,
      target_modules: ["q_proj"],
    });
    const misfit = { gpu: device(), model: await writeTextModel(), adapter };
    await expect(prepareText(misfit)).rejects.toThrow("The adapter is for another base model (other)");
  });
});
