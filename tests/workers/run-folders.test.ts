import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { writtenSettings } from "../../demo/compare/facts.ts";
import { tellingFiles } from "../../demo/runs/open-folder.ts";
import { RunReader } from "../../src/cli/ui/reader.ts";
import { readRunFolders } from "../../workers/session/run-folders.ts";

// Folders of the command line as a page reads them.

const facts = (change: object = {}) =>
  JSON.stringify({
    ...{ version: 1, method: "grpo", model: "Qwen/Qwen2.5-0.5B", data: "gsm8k", recipe: "beta: 0.1\n", max_steps: 4 },
    ...{ device: "a GPU", began: "2026-01-02T03:04:05.000Z", ended: null, status: "finished", problem: null },
    ...change,
  });
const lines = (...rows: (object | string)[]) =>
  rows.map((row) => `${typeof row === "string" ? row : JSON.stringify(row)}\n`).join("");
const evaluation = (adapter: string | null, right: boolean[], change: object = {}) =>
  JSON.stringify({
    results: {
      ...{ model_type: "x", dataset: "gsm8k", model_name_or_path: "Qwen/Qwen2.5-0.5B", adapter_name_or_path: adapter },
      ...change,
    },
    records: Object.fromEntries(
      right.map((is_correct, i) => [
        String(i),
        {
          ...{ problem: `Problem ${i}`, ground_truth: "7", responses: ["six", "7"], extracted_answers: [null, "7"] },
          ...{ correct_responses: [false, is_correct], is_correct, n_correct: is_correct ? 1 : 0, n_total: 2 },
        },
      ]),
    ),
  });
const read = (files: Record<string, string>) =>
  readRunFolders(Object.entries(files).map(([path, text]) => ({ path, file: new Blob([text]) })));

describe("a folder's runs", () => {
  test("come with logs, completions and recipe; lines that are none are counted, and an interrupted last line is not", async () => {
    const completion = {
      step: 3,
      prompt: "p",
      completion: "c",
      right: 1,
      advantage: 0.5,
      finish_reason: "stop",
      length: 2,
    };
    const [{ record, device, notes }, ...others] = await read({
      "out/run.json": facts(),
      "out/metrics.jsonl": `${lines({ step: 1, reward: 0.5, elapsed: 2 }, "no log", { step: 3, reward: 1 })}{"step":4`,
      "out/completions/completions_00003.jsonl": lines(completion, "{"),
      "out/notes.txt": "x",
    });
    expect(others).toEqual([]);
    expect(record).toMatchObject({
      id: "folder:out",
      ...{ name: "out", status: "finished", model: "Qwen/Qwen2.5-0.5B", data: "gsm8k", recipes: ["beta: 0.1\n"] },
      created: Date.UTC(2026, 0, 2, 3, 4, 5),
      phases: [{ method: "grpo", max_steps: 4, global_step: 3 }],
      logs: [
        [
          { step: 1, reward: 0.5, elapsed: 2 },
          { step: 3, reward: 1 },
        ],
      ],
      evaluations: [],
    });
    expect(record.completions).toMatchObject([
      { phase: 0, step: 3, records: [{ completion: "c", rewards: { right: 1 } }] },
    ]);
    expect(device).toBe("a GPU");
    expect(notes).toEqual(["1 line of metrics.jsonl cannot be read as logs and are left out."]);
  });

  test("are found at any depth; without run.json, the method is that of the metrics", async () => {
    const found = await read({
      "all/a/metrics.jsonl": lines({ step: 1, "rewards/margins": 1 }),
      "all/b/metrics.jsonl": lines({ step: 2, loss: 1 }),
      "all/b/adapter_model.safetensors": "x",
      "all/c/run.json": facts({ status: "interrupted" }),
      "all/d/run.json": "{}",
      "all/e/readme.md": "",
    });
    expect(found.map(({ record }) => [record.name, record.phases[0].method, record.status])).toEqual([
      ["all/a", "dpo", "paused"],
      ["all/b", "sft", "finished"],
      ["all/c", "grpo", "paused"],
      ["all/d", "sft", "paused"],
    ]);
  });

  test("are compared with the base and their checkpoints by what qwench eval wrote beside them", async () => {
    const run = { "out/run.json": facts(), "out/metrics.jsonl": lines({ step: 4, reward: 1 }) };
    const [{ record, notes }] = await read({
      ...run,
      "out/base.json": evaluation(null, [false, true, false]),
      "out/evals/trained.json": evaluation("/home/me/out/", [true, true, false]),
      "out/evals/early.json": evaluation("../out/checkpoint-2", [true, false, false]),
      "out/evals/other.json": evaluation("elsewhere/adapter", [true, true, true]),
      "out/evals/few.json": evaluation("out", [true]),
      "out/evals/odd.json": '{"results": {}, "records": 1}',
    });
    expect(record.evaluations.map(({ stage, step, accuracy }) => [stage, step, accuracy])).toEqual([
      ["base", undefined, 1 / 3],
      ["grpo", 2, 1 / 3],
      ["grpo", undefined, 2 / 3],
    ]);
    expect(record.accuracy).toBe(2 / 3);
    expect(record.evaluations[2].problems[0]).toEqual({
      ...{ question: "Problem 0", gold: "7", completion: "7", answer: "7", correct: true },
    });
    expect(record.evaluations[2].problems[2]).toMatchObject({ completion: "six", answer: "", correct: false });
    expect(notes).toEqual(["1 evaluation of other problems cannot be compared here: use qwench compare."]);
    // a base alone says nothing about the run
    const [alone] = await read({ ...run, "out/base.json": evaluation(null, [true]) });
    expect(alone.record.evaluations).toEqual([]);
  });
});

test("the page and qwench ui read the same from a folder", async () => {
  const root = mkdtempSync(join(tmpdir(), "qwench-folder-"));
  try {
    const completion = { step: 2, prompt: "p", completion: "c", right: null, advantage: 0, finish_reason: "length" };
    const files = {
      "run.json": facts({ status: "failed", problem: "The GPU was lost" }),
      "metrics.jsonl": lines(
        { step: 1, reward: 0.5, elapsed: 2 },
        { step: 2, reward: 1, time: "2026-01-02T03:04:09Z" },
        "?",
      ),
      "completions/completions_00002.jsonl": lines({ ...completion, length: 9 }),
    };
    mkdirSync(join(root, "completions"));
    for (const [name, text] of Object.entries(files)) writeFileSync(join(root, name), text);
    const ui = await new RunReader("1", root, "out").news({ generation: -1, logs: 0, version: "" });
    const [{ record, device, notes }] = await read(
      Object.fromEntries(Object.entries(files).map(([name, text]) => [`out/${name}`, text])),
    );
    expect(record).toMatchObject({ ...ui.summary, id: "folder:out" });
    expect([record.logs, record.completions, record.recipes]).toEqual([[ui.logs], ui.completions, ui.recipes]);
    expect([device, notes.length]).toEqual([ui.device, ui.notes.length]);
  } finally {
    rmSync(root, { recursive: true });
  }
});

test("only files that tell about runs leave a picked folder", () => {
  const file = (path: string) => Object.defineProperty(new File([], path), "webkitRelativePath", { value: path });
  const told = tellingFiles(
    [
      ...["out/run.json", "out/metrics.jsonl", "out/completions/completions_00001.jsonl", "out/base.json"],
      ...["out/checkpoint-2/trainer_state.json", "out/.git/x.json", "out/tokenizer.json", "out/adapter_config.json"],
      ...["out/report.html", "out/adapter_model.safetensors"],
    ].map(file),
  );
  expect(told.map(({ path }) => path)).toEqual([
    ...["out/run.json", "out/metrics.jsonl", "out/completions/completions_00001.jsonl", "out/base.json"],
    "out/adapter_model.safetensors",
  ]);
});

test("a recipe's fields are read from its text where no tables of fields are", () => {
  const yaml = "# made by qwench\nlearning_rate: 1.0e-5 # low\nreward_funcs:\n  - a\n  - b\nbeta: 0.1\n";
  expect(writtenSettings("grpo", yaml)).toEqual({
    ...{ "grpo learning_rate": "1.0e-5", "grpo reward_funcs": "- a - b", "grpo beta": "0.1" },
  });
});
