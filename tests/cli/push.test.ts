import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { parse } from "yaml";
import { writeRandomCheckpoint } from "../../scripts/random-checkpoint.ts";
import { writeFolder } from "../../src/cli/runs/export-folder.ts";
import type { EvalResults } from "../../src/eval/results.ts";
import { readAdapter } from "../../src/io/peft.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { type CardFacts, modelCard } from "../../src/report/model-card.ts";
import { openExport, writeExport } from "../../src/session/export.ts";
import { FakePushHub } from "../io/hub/fake-hub-push.ts";
import { adapterFor, copyTinyTokenizer } from "../session/export/fixtures.ts";
import { TINY } from "../train/fixtures.ts";
import { run } from "./e2e.ts";

const TOKEN = "hf_secretofmine";
let root: string;
let hub: FakePushHub;
const at = (...names: string[]) => join(root, ...names);

const RECIPE = "model_name_or_path: Qwen/Qwen2.5-0.5B\ndataset_name: openai/gsm8k\nlora_r: 4 # small\n";

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "qwench-push-"));
  const model = nodeFolder(at("model"));
  await writeRandomCheckpoint(model, { ...TINY, vocab_size: 640 });
  await copyTinyTokenizer(model);
  await adapterFor(model, { folder: nodeFolder(at("run")), base: "Qwen/Qwen2.5-0.5B" });
  const logs = Array.from({ length: 40 }, (_, i) => ({
    step: i + 1,
    loss: 3 - i / 20,
    learning_rate: 1e-4,
    epoch: i / 40,
  }));
  writeFileSync(at("run", "metrics.jsonl"), logs.map((log) => `${JSON.stringify(log)}\n`).join(""));
  writeFileSync(at("run", "report.html"), "<html>");
  writeFileSync(at("recipe.yaml"), RECIPE);
  const source = await openExport(model, null);
  await writeExport(nodeFolder(at("gguf")), source, { format: "gguf", name: "tiny", base: "" });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
beforeEach(async () => {
  hub = await new FakePushHub().start();
  hub.token = TOKEN;
  vi.stubEnv("HF_TOKEN", TOKEN);
  vi.stubEnv("HF_ENDPOINT", hub.url);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await hub.stop();
});

const push = async (...argv: string[]) => {
  const result = await run("push", ...argv);
  expect(result.said).not.toContain(TOKEN);
  expect(result.said).not.toContain("UNCAUGHT");
  return result;
};
const results = (values: Partial<EvalResults>): EvalResults =>
  ({
    model_type: "checkpoint-40",
    dataset: "openai/gsm8k",
    total_problems: 1319,
    pass_at: { "1": 37.48, "8": 71.2 },
    majority_accuracy: 52.1,
    n_sampling: 8,
    temperature: 0.7,
    max_tokens: 512,
    ...values,
  }) as EvalResults;

describe("qwench push", () => {
  test("an adapter: its files, and a card of base, curves, recipe, data and evaluations", async () => {
    writeFileSync(at("eval.json"), JSON.stringify({ results: results({}), records: {} }));
    writeFileSync(
      at("base.json"),
      JSON.stringify({ results: results({ model_type: "base", pass_at: { "1": 20 } }), records: {} }),
    );
    const { code, said } = await push(
      ..."push --private --repo me/tuned".split(" ").slice(1),
      ...["--adapter", at("run"), "--recipe", at("recipe.yaml"), "--eval", at("base.json"), "--eval", at("eval.json")],
    );
    expect(said).toMatch(/\/me\/tuned: 3 files, commit [0-9a-f]{12}/);
    expect(code).toBe(0);
    const repo = hub.repos.get("me/tuned")!;
    expect(repo.private).toBe(true);
    expect([...repo.files.keys()].sort()).toEqual(["README.md", "adapter_config.json", "adapter_model.safetensors"]);
    expect(repo.files.get("adapter_model.safetensors")).toEqual(readFileSync(at("run", "adapter_model.safetensors")));
    expect(JSON.parse(repo.files.get("adapter_config.json")!.toString()).base_model_name_or_path).toBe(
      "Qwen/Qwen2.5-0.5B",
    );
    const card = repo.files.get("README.md")!.toString();
    expect(parse(card.split("---\n")[1])).toEqual({
      base_model: "Qwen/Qwen2.5-0.5B",
      library_name: "peft",
      pipeline_tag: "text-generation",
      tags: ["qwench", "lora", "sft"],
      datasets: ["openai/gsm8k"],
    });
    expect(card).toContain("| base | openai/gsm8k | 1319 | 20.0 | — | 52.1 | 8 | 0.7 | 512 |");
    expect(card).toContain("| checkpoint-40 | openai/gsm8k | 1319 | 37.5 | 71.2 | 52.1 | 8 | 0.7 | 512 |");
    expect(card).toContain("LoRA of rank 4, α 10, rank-stabilised, on q_proj, k_proj");
    const curve = card.split("\n").filter((line) => /^\| \d+ \|/.test(line));
    expect(curve).toHaveLength(10);
    expect(curve[0]).toBe("| 1 | 3 | 1e-4 | 0 |");
    expect(curve[9]).toMatch(/^\| 40 \| 1\.05 \| \S+ \| 0\.975 \|/);
    expect(card).toContain(`\`\`\`yaml\n${RECIPE}\`\`\``);
    expect(card).toMatch(/- qwench \d+\.\d+\.\d+\n- node \d+/);
  });

  test("a merged model and a GGUF, each as what it is", async () => {
    expect((await push("--model", at("model"), "--repo", "me/merged", "--base_model", "Qwen/Qwen2.5-0.5B")).code).toBe(
      0,
    );
    const merged = hub.repos.get("me/merged")!;
    expect(merged.private).toBe(false);
    expect([...merged.files.keys()].sort()).toEqual([
      "README.md",
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    const front = (name: string) => parse(hub.repos.get(name)!.files.get("README.md")!.toString().split("---\n")[1]);
    expect(front("me/merged")).toMatchObject({ library_name: "transformers", base_model: "Qwen/Qwen2.5-0.5B" });
    expect((await push("--model", at("gguf"), "--repo", "me/gguf")).code).toBe(0);
    expect([...hub.repos.get("me/gguf")!.files.keys()].sort()).toEqual(["README.md", "tiny-Q8_0.gguf"]);
    expect(front("me/gguf")).toEqual({ pipeline_tag: "text-generation", tags: ["qwench", "gguf"] });
  });

  test("what it would push, without a token and without the hub", async () => {
    vi.stubEnv("HF_TOKEN", "");
    const { code, said } = await push("--adapter", at("run"), "--repo", "me/tuned", "--dry_run");
    expect(said).toContain("base_model: Qwen/Qwen2.5-0.5B");
    expect(said).toMatch(/Would push to me\/tuned: README.md, adapter_config.json, adapter_model.safetensors/);
    expect([code, hub.asked]).toEqual([0, []]);
  });

  test("takes a card that is there", async () => {
    mkdirSync(at("own"));
    for (const name of ["adapter_config.json", "adapter_model.safetensors"])
      writeFileSync(at("own", name), readFileSync(at("run", name)));
    writeFileSync(at("own", "README.md"), "# mine");
    const { said } = await push("--adapter", at("own"), "--repo", "me/own");
    expect(said).toMatch(/using .*README\.md as the model card/);
    expect(hub.repos.get("me/own")!.files.get("README.md")!.toString()).toBe("# mine");
  });

  test("never publishes a path of this machine as the base", async () => {
    mkdirSync(at("local"));
    await adapterFor(nodeFolder(at("model")), { folder: nodeFolder(at("local")), base: at("model") });
    const refused = await push("--adapter", at("local"), "--repo", "me/local");
    expect(refused.said).toMatch(/names its base by a local path, \S+: give the base.s hub id with --base_model/);
    expect([refused.code, hub.asked]).toEqual([2, []]);
    const { code } = await push("--adapter", at("local"), "--repo", "me/local", "--base_model", "me/base");
    expect(code).toBe(0);
    for (const file of hub.repos.get("me/local")!.files.values()) expect(file.toString()).not.toContain(root);
    expect((await readAdapter(nodeFolder(at("local")))).config.base_model_name_or_path).toBe(at("model")); // untouched
  });

  test.each([
    [["--repo", "a/b"], 2, /Name what to push with either --adapter or --model/],
    [["--adapter", "RUN", "--model", "RUN", "--repo", "a/b"], 2, /with either --adapter or --model/],
    [["--adapter", "RUN"], 2, /--repo is needed: user\/name/],
    [["--adapter", "/no/where", "--repo", "a/b"], 1, /Cannot push \/no\/where: there is no such folder/],
    [["--adapter", "RUN", "--repo", "tuned"], 2, /a repository name must be owner\/name/],
    [["--adapter", "RUN", "--repo", "others/x"], 1, /answers 403 .* has no write access/],
    [["--adapter", "RUN", "--repo", "a/b", "--base_model", "/x"], 2, /--base_model must be a hub id/],
    [["--adapter", "RUN", "--repo", "a/b", "--eval", "RUN/metrics.jsonl"], 1, /metrics\.jsonl: it is not JSON/],
    [
      ["--adapter", "RUN", "--repo", "a/b", "--eval", "RUN/adapter_config.json"],
      1,
      /as a result of qwench eval: results\.total_problems is missing/,
    ],
    [
      ["--adapter", "RUN", "--repo", "a/b", "--recipe", "nowhere.yaml"],
      1,
      /Cannot read nowhere\.yaml: there is no such file/,
    ],
    [["--adapter", "RUN", "--repo", "a/b", "--run", "RUN/x"], 1, /it has no metrics\.jsonl/],
    [["--model", "RUN", "--repo", "a/b"], 1, /config\.json: there is no such file/],
  ])("%j is refused", async (argv, wanted, message) => {
    const { code, said } = await push(...argv.map((arg) => arg.replace("RUN", at("run"))));
    expect(said).toMatch(message);
    expect(code).toBe(wanted);
    expect(hub.repos.size).toBe(0);
  });

  test("refuses what an export left half done", async () => {
    const folder = await writeFolder(
      at("half"),
      "{}",
      () => {},
      async (pending) => pending.folder,
    );
    const { code, said } = await push("--model", folder!.path, "--repo", "me/half");
    expect(said).toMatch(/half\.partial: it is from an export that did not finish or failed its check/);
    expect([code, hub.asked]).toEqual([2, []]);
  });

  test("says what a token lacks", async () => {
    vi.stubEnv("HF_TOKEN", "hf_read");
    expect((await push("--adapter", at("run"), "--repo", "me/x")).said).toMatch(
      /answers 401 .*does not accept the token in HF_TOKEN/,
    );
    vi.stubEnv("HF_TOKEN", undefined);
    expect((await push("--adapter", at("run"), "--repo", "me/x")).said).toMatch(
      /set HF_TOKEN to a token with write access/,
    );
  });
});

describe("a model card", () => {
  const facts: CardFacts = {
    repo: "me/x",
    kind: "adapter",
    base: "Qwen/Qwen2.5-0.5B",
    datasets: [],
    method: "grpo",
    lora: null,
    recipe: null,
    logs: [],
    evaluations: [],
    files: [],
    versions: {},
  };

  test("has no section for what is not known", () => {
    const card = modelCard({ ...facts, base: null, method: null, kind: "model" });
    expect(card.match(/^## .*/gm)).toEqual(["## How to use it"]);
    expect(parse(card.split("---\n")[1])).not.toHaveProperty("base_model");
  });

  test("is not broken by what stands in files", () => {
    const nasty = "x | y\n---\n</table><script>alert(1)</script> `code`";
    const card = modelCard({
      ...facts,
      evaluations: [results({ model_type: nasty, dataset: "[a](javascript:b)" })],
      recipe: "system_prompt: |\n  ```\n  # not a heading\n  ```\n---\n",
    });
    const row = card.split("\n").find((line) => line.includes("alert"))!;
    expect(row).not.toContain("<script>");
    expect(row.replace(/\\\|/g, "").split("|")).toHaveLength(11);
    expect(row).toContain("\\[a\\](javascript:b)");
    expect(card).toContain("````yaml\nsystem_prompt");
    expect(card.trimEnd().endsWith("````")).toBe(true);
  });

  test("joins a step's log and its evaluation, and shows GRPO's curves", () => {
    const logs = [
      { step: 1, reward: 0.25, kl: 0, "completions/mean_length": 100.5, loss: 0 },
      { step: 1, eval_loss: 2.5 },
      { step: 2, reward: 0.5, kl: 0.001, "completions/mean_length": 90, loss: 0.01 },
      { step: 2, train_runtime: 12 },
    ];
    const card = modelCard({ ...facts, logs });
    expect(card).toContain("| step | reward | loss | eval loss | tokens per completion | KL |");
    expect(card).toContain("| 1 | 0.25 | 0 | 2.5 | 100.5 | 0 |\n| 2 | 0.5 | 0.01 | — | 90 | 0.001 |\n");
    expect(card).toContain("trained by GRPO");
  });
});
