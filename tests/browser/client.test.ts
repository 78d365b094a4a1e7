import { unzipSync } from "fflate";
import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openCheckpoint } from "../../src/io/checkpoint.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import type { Folder } from "../../src/io/storage.ts";
import { conversationIds, loadText, prepareText, respond } from "../../src/session/generate.ts";
import { ownGpu } from "../gpu/open.ts";
import { tinyChatModel } from "../train/grpo/fixtures.ts";
import { type Site, serve, useBrowser } from "./harness.ts";
import { bytesFrom, JOB, learnt, makeTrainer, start, trainerSite } from "./trainer.ts";

const web = useBrowser({ keepPages: true });
let site: Site;
let page: Page;
beforeAll(async () => {
  site = await serve(await trainerSite());
  page = await web.open(site.url);
  await makeTrainer(page);
});
afterAll(() => site.close());

const create = (job: object) => page.evaluate((job) => trainer.runs.create(job as never), job);
const MINOR = ["progress", "note", "log", "warning", "checkpoint", "solved"];

describe("a trainer in a worker", () => {
  let whole: string;
  let numbers: string[];

  test("describes the device", async () => {
    const device = await page.evaluate(() => trainer.device());
    expect(device).toMatchObject({
      software: true,
      advice: expect.stringContaining("CPU"),
      limits: { maxBufferSize: expect.any(Number) },
    });
  });

  test("plans and trains two phases, with events in order and a record of it all", async () => {
    const plan = await page.evaluate((job) => trainer.plan(job), JOB);
    expect(plan).toMatchObject({ fits: true, problem: null, download: 0 });
    expect(plan.phases.map(({ method, max_steps }) => [method, max_steps])).toEqual([
      ["sft", 3],
      ["grpo", 2],
    ]);
    expect(plan.phases[0].memory.peak).toBeGreaterThan(0);

    whole = await create(JOB);
    const { events, error } = await start(page, whole);
    expect(error).toBeNull();
    numbers = learnt(events);
    expect(numbers).toHaveLength(5);
    expect(events.map(({ type }) => type).filter((type) => !MINOR.includes(type))).toEqual(
      "evaluated phase step step step evaluated phase generated step generated step evaluated end".split(" "),
    );
    // every answer arrives before the evaluation that counts it
    let solved: boolean[] = [];
    for (const event of events) {
      if (event.type === "solved") solved[event.index] = event.problem.correct;
      if (event.type !== "evaluated") continue;
      expect(solved).toEqual(event.evaluation.problems.map(({ correct }) => correct));
      solved = [];
    }
    const record = await page.evaluate((id) => trainer.runs.get(id), whole);
    expect(record).toMatchObject({
      name: "SFT, then GRPO",
      status: "finished",
      problem: null,
      phases: [
        { method: "sft", max_steps: 3, global_step: 3 },
        { method: "grpo", max_steps: 2, global_step: 2 },
      ],
      model: "the embedded model",
    });
    expect(record.logs.map((logs) => logs.length)).toEqual([3, 2]);
    expect(record.completions.map(({ records }) => records.length)).toEqual([4, 4]);
    expect(record.evaluations.map(({ stage, problems }) => [stage, problems.length])).toEqual([
      ["base", 3],
      ["sft", 3],
      ["grpo", 3],
    ]);
    const again = await start(page, whole);
    expect(again.error).toMatchObject({
      name: "QwenchError",
      message: expect.stringContaining("is finished"),
      ours: true,
    });
  });

  test("pauses when its iteration is left, or by a signal, and continues with the same numbers", async () => {
    const id = await create(JOB);
    const first = await start(page, id, { leaveAfter: 1 });
    expect(first.error).toBeNull();
    const paused = await page.evaluate((id) => trainer.runs.get(id), id);
    expect(paused).toMatchObject({ status: "paused", problem: null, phase: 0 });
    const { global_step } = paused.phases[0];
    expect(global_step).toBeGreaterThan(0);
    expect(global_step).toBeLessThan(3);

    const second = await start(page, id, { abortAfter: 3 - global_step + 1 }); // the first step of GRPO
    expect(second.error).toMatchObject({
      name: "AbortError",
      ours: true,
      message: expect.stringMatching(/Stopped|aborted/),
    });
    expect(second.events.find((event) => event.type === "phase")).toMatchObject({ phase: 0, global_step });

    const third = await start(page, id);
    expect(third.error).toBeNull();
    expect(third.events.find((event) => event.type === "phase")).toMatchObject({ phase: 1 });
    const record = await page.evaluate((id) => trainer.runs.get(id), id);
    const events = record.logs.flatMap((logs, phase) =>
      logs.map((record) => ({ type: "log" as const, phase, record })),
    );
    expect(learnt(events)).toEqual(numbers);
  });

  test("keeps a history that can be renamed, stopped and removed", async () => {
    const listed = await page.evaluate(() => trainer.runs.list());
    expect(listed.map(({ status }) => status)).toEqual(["finished", "finished"]);
    const id = await create({ ...JOB, name: "third" });
    const found = await page.evaluate(async (id) => {
      await trainer.runs.rename(id, "another name");
      await trainer.runs.stop(id);
      const { name, status } = await trainer.runs.get(id);
      await trainer.runs.remove(id);
      const gone = await trainer.runs.get(id).catch((error: Error) => `${error.name}: ${error.message}`);
      return { name, status, gone };
    }, id);
    expect(found).toEqual({
      name: "another name",
      status: "stopped",
      gone: expect.stringMatching(/^NotFoundError: There is no run/),
    });
  });

  test("exports an adapter that Node reads, with the same greedy answer", async () => {
    const messages = [{ role: "user" as const, content: "How many apples are 2 and 3?" }];
    const ask = (adapter: boolean) =>
      page.evaluate(
        async (run, messages, adapter) => {
          const request = {
            run,
            model: { kind: "embedded" as const },
            adapter,
            messages,
            temperature: 0,
            max_new_tokens: 12,
          };
          let text = "";
          let tokens = 0;
          for await (const event of trainer.chat(request)) {
            if (event.type === "text") text += event.text;
            if (event.type === "end") tokens = event.tokens;
          }
          return { text, tokens };
        },
        whole,
        messages,
        adapter,
      );
    const [off, on, again] = [await ask(false), await ask(true), await ask(false)];
    expect(again).toEqual(off);
    expect(on.text).not.toBe(off.text);
    expect(on.tokens).toBeGreaterThan(0);

    const { name, bytes } = await bytesFrom(page, whole, "adapter");
    expect(name).toBe("SFT-then-GRPO-adapter.zip");
    const adapter = await folderOf(unzipSync(bytes));
    const files = ["adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    const beside = ["1-sft.yaml", "2-grpo.yaml", "README.md", "metrics.jsonl"];
    expect((await adapter.list()).sort()).toEqual([...files, ...beside].sort());
    const gpu = await ownGpu();
    const sources = { gpu, model: await tinyChatModel(), adapter };
    const text = await loadText(await prepareText(sources), sources);
    let made = "";
    const sampling = {
      temperature: 0,
      top_k: 0,
      top_p: 1,
      min_p: 0,
      repetition_penalty: 1,
      max_new_tokens: 12,
      seed: 0,
    };
    for await (const event of respond(text, [{ prompt_ids: conversationIds(text, messages) }], sampling)) {
      if (event.type === "response") made = event.made.text;
    }
    expect(made).toBe(on.text);
  });

  test("exports a merged model, a report and the recipes", async () => {
    const merged = await folderOf(unzipSync((await bytesFrom(page, whole, "merged")).bytes));
    expect(await merged.list()).toEqual([
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    const [base, made] = [await openCheckpoint(await tinyChatModel()), await openCheckpoint(merged)];
    const q = "model.layers.0.self_attn.q_proj.weight";
    expect(made.tensors.get(q)).toMatchObject({ dtype: "BF16", shape: base.tensors.get(q)!.shape });
    expect(await made.read(q)).not.toEqual(await base.read(q));
    expect(await made.read("model.norm.weight")).toEqual(await base.read("model.norm.weight"));

    const small = await openCheckpoint(await folderOf(unzipSync((await bytesFrom(page, whole, "merged_4bit")).bytes)));
    expect(small.weights.get(q)).toEqual({ dtype: "NF4", shape: base.tensors.get(q)!.shape });
    await expect(bytesFrom(page, whole, "gguf")).rejects.toThrow(/tokenizer\.json splits text with/); // no Qwen's

    const report = new TextDecoder().decode((await bytesFrom(page, whole, "report")).bytes);
    expect(report).toMatch(/<!doctype html>[\s\S]*SFT, then GRPO[\s\S]*accuracy, before/);
    const recipes = unzipSync((await bytesFrom(page, whole, "recipe")).bytes);
    const recipe = (name: string) => new TextDecoder().decode(recipes[name]);
    expect(Object.keys(recipes)).toEqual(["1-sft.yaml", "2-grpo.yaml"]);
    expect(recipe("1-sft.yaml")).toMatch(/^# Phase 1 of 2 .*: qwench sft, or trl sft\n[\s\S]*max_steps: 3/);
    expect(recipe("2-grpo.yaml")).toMatch(/^# Phase 2 of 2 .*: qwench grpo, or trl grpo.*\n[\s\S]*beta: 0\.1/);
    const lora = await bytesFrom(page, whole, "gguf_lora");
    expect([lora.name.slice(-14), new TextDecoder().decode(lora.bytes.slice(0, 4))]).toEqual([
      "-lora-F32.gguf",
      "GGUF",
    ]);
    const kept = unzipSync((await bytesFrom(page, whole, "adapter")).bytes);
    expect(new TextDecoder().decode(kept["README.md"])).toMatch(/LoRA of rank 4[\s\S]*`trl grpo`/);
  });

  test("reads, checks and writes recipes", async () => {
    const found = await page.evaluate(async () => {
      const said = (work: Promise<unknown>) =>
        work.then(
          () => "it succeeded",
          (e: Error) => `${e.name}: ${e.message}`,
        );
      const yaml = "model_name_or_path: a/b\nlearning_rate: 1e-4\nlora_r: 8\nmax_seq_length: 64\n";
      return {
        fields: (await trainer.recipe.fields("grpo")).map(({ name }) => name),
        presets: (await trainer.recipe.presets()).map(({ method }) => method),
        parsed: await trainer.recipe.parse(yaml, "sft"),
        wrong: await said(trainer.recipe.parse({ lora_r: 0 }, "sft")),
        unknown: await said(trainer.recipe.parse("lora_rank: 3", "grpo")),
        text: await trainer.recipe.format({ lora_r: 8 }, "sft"),
      };
    });
    expect(found.fields).toContain("num_generations");
    expect(found.fields).not.toContain("output_dir");
    expect(new Set(found.presets)).toEqual(new Set(["sft", "grpo", "dpo"]));
    expect(found.parsed.recipe).toEqual({ learning_rate: 1e-4, lora_r: 8, max_length: 64 });
    expect(found.parsed.notes.join()).toMatch(/max_seq_length is an old name.*model_name_or_path: set by this page/);
    expect(found.wrong).toBe("RecipeError: lora_r must be an integer of at least 1, got 0");
    expect(found.unknown).toMatch(/^RecipeError: .*did you mean lora_r/);
    expect(found.text).toContain("lora_r: 8");
  });
});

async function folderOf(files: Record<string, Uint8Array>): Promise<Folder> {
  const folder = memoryFolder("unzipped");
  for (const [name, bytes] of Object.entries(files)) await folder.write(name, bytes);
  return folder;
}
