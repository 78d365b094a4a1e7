import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { parseArgs } from "../../src/cli/args.ts";
import { EVAL_FLAGS, readEvalFlags, readEvalRequests } from "../../src/cli/flags/eval-flags.ts";
import { main } from "../../src/cli/main.ts";
import { type EvalIdentity, fingerprint, openPartial } from "../../src/cli/runs/eval-partial.ts";
import type { EvalProblem } from "../../src/eval/evaluate.ts";
import type { EvalFile } from "../../src/eval/results.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";

let root: string;
const at = (...names: string[]) => join(root, ...names);
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "qwench-eval-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Runs a command line in this process. @returns its exit code, and what it said */
async function qwench(...argv: string[]): Promise<{ code: number; err: string; out: string }> {
  const said = { err: "", out: "" };
  const spies = [
    vi.spyOn(console, "error").mockImplementation((text) => void (said.err += `${text}\n`)),
    vi.spyOn(console, "log").mockImplementation((text) => void (said.out += `${text}\n`)),
  ];
  try {
    return { code: await main(["eval", ...argv]), ...said };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

const flagsOf = (...argv: string[]) => readEvalFlags(parseArgs(argv, { flags: EVAL_FLAGS }));
const fileAt = (path: string): EvalFile => JSON.parse(readFileSync(path, "utf8"));

describe("a command line", () => {
  it("by default evaluates the embedded model on its own problems, with the sampling of Unsloth's evaluation", () => {
    const asked = flagsOf();
    expect(asked).toMatchObject({ dataset: "embedded", split: "test", n: 8, ks: [1, 2, 4, 8], name: "base" });
    expect(asked.settings).toMatchObject({ temperature: 0.3, top_p: 0.95, top_k: 0, min_p: 0, seed: 0 });
    expect(asked.output).toBe("qwench-eval/embedded_base_t0.3_n8.json");
  });

  it("draws one response at temperature 0, and chooses pass@k by n", () => {
    expect(flagsOf("--temperature", "0")).toMatchObject({ n: 1, ks: [1] });
    expect(flagsOf("--n", "5")).toMatchObject({ n: 5, ks: [1, 2, 4] });
    expect(flagsOf("--k", "5, 1,5")).toMatchObject({ ks: [1, 5] });
  });

  it("names the file by data set, model, temperature and n", () => {
    const argv = ["math500", "--model", "Qwen/Qwen2.5-0.5B", "--output_dir", "out"];
    expect(flagsOf(...argv).output).toBe("out/math500_Qwen2.5-0.5B_t0.3_n8.json");
    expect(flagsOf(...argv, "--adapter", "runs/a/checkpoint-200/").name).toBe("checkpoint-200");
    expect(flagsOf(...argv, "--name", "../of mine").output).toBe("out/math500_..-of-mine_t0.3_n8.json");
    expect(flagsOf("someone/some.rows").output).toBe("qwench-eval/some_base_t0.3_n8.json");
  });

  it("reads selections, prompts and the ways to find an answer", () => {
    expect(flagsOf("--where", "level=1, 2", "--where", "subject=Algebra").where).toEqual({
      level: ["1", "2"],
      subject: ["Algebra"],
    });
    expect(flagsOf("--extract", "boxed,tag").grading.order).toEqual(["boxed", "answer_tag"]);
    expect(flagsOf("--system", "xml").system).toContain("<reasoning>");
    expect(flagsOf("--system", "Be brief.").system).toBe("Be brief.");
    expect(flagsOf("--template", "aime").template).toContain("{problem}");
    expect(flagsOf("--max_new_tokens", "9").settings.max_new_tokens).toBe(9);
  });

  it("evaluates each checkpoint of a run, in order of steps: adapters and whole models", () => {
    const requestsOf = (...argv: string[]) => readEvalRequests(parseArgs(argv, { flags: EVAL_FLAGS }));
    const run = at("run");
    for (const name of ["checkpoint-200", "checkpoint-50", "checkpoint-100.tmp", "other"]) {
      mkdirSync(join(run, name), { recursive: true });
    }
    writeFileSync(join(run, "checkpoint-200", "adapter_config.json"), "{}");
    const asked = requestsOf("aime", "--checkpoints", run);
    expect(asked.map(({ name }) => name)).toEqual(["checkpoint-50", "checkpoint-200"]);
    expect(asked.map(({ model }) => model.adapter)).toEqual([null, join(run, "checkpoint-200")]);
    expect(asked[0].model.model).toBe(join(run, "checkpoint-50"));
    expect(asked[1].output).toBe("qwench-eval/aime_checkpoint-200_t0.3_n8.json");
    expect(requestsOf("aime")).toEqual([flagsOf("aime")]);
    expect(() => requestsOf("aime", "--checkpoints", at("none"))).toThrow(/none: there is no checkpoint-N in it/);
    expect(() => requestsOf("aime", "--checkpoints", run, "--name", "x")).toThrow(/--name is for one model/);
  });

  it.each<[string, RegExp, ...string[]]>([
    ["an unknown data set, with the nearest", /no data set or file "gsm8kk": did you mean gsm8k\?/, "gsm8kk"],
    ["a file that is not there", /no data set or file "rows\.jsonl"; there are gsm8k, /, "rows.jsonl"],
    ["a model without a data set", /Name a data set: gsm8k, /, "--model", "Qwen/Qwen2.5-0.5B"],
    ["two data sets", /Give one data set, got 2: aime, amc23/, "aime", "amc23"],
    ["k above n", /pass@9 needs at least 9 responses per problem: --n is 8/, "--k", "1,9"],
    ["k of 0", /--k must be a whole number of at least 1, got "0"/, "--k", "0"],
    ["chance that there is none of", /--n 4 needs a --temperature above 0/, "--n", "4", "--temperature", "0"],
    ["two lengths", /--max_tokens and --max_new_tokens are the same/, "--max_tokens", "9", "--max_new_tokens", "9"],
    ["a selection without values", /--where must be COLUMN=VALUES/, "--where", "level"],
    ["a template without a place", /--template must be aime, or text with \{problem\}/, "--template", "Solve it"],
    ["an unknown way to find answers", /--extract may hold whole, .*, got box/, "--extract", "box"],
    ["a file of nothing that is known", /--file needs the NAME of a known data set/, "--file", "x.jsonl"],
    ["a share above 1", /--top_p must be a number between 0 and 1, got "2"/, "--top_p", "2"],
    ["no problem at all", /--limit must be a whole number of at least 1/, "--limit", "0"],
  ])("is refused for %s", (_, message, ...argv) => {
    expect(() => flagsOf(...argv)).toThrow(message);
  });
});

describe("the partial file", () => {
  const problems = [0, 1, 2].map(
    (global_id): EvalProblem => ({
      global_id,
      original_id: `${global_id}`,
      source_dataset: "sums",
      problem: "?",
      ground_truth: `${global_id}`,
      tests: null,
      prompt_ids: [global_id, 7],
    }),
  );
  const identity: EvalIdentity = {
    generation: { seed: 0, temperature: 1 },
    grading: { order: ["boxed"] },
    problems,
    n: 2,
  };
  const written = { responses: ["a\n", "b"], completion_tokens: [2, 1], finish_reasons: ["stop", "length"] as const };
  const made = { ...written, finish_reasons: [...written.finish_reasons] };
  const verdicts = { extracted_answers: ["1", null], correct_responses: [true, false] };
  let output: string;

  beforeEach(async () => {
    output = join(mkdtempSync(at("partial-")), "e.json");
    const first = await openPartial(output, identity);
    await Promise.all([first.addWritten(1, made), first.addVerdicts(1, verdicts), first.addWritten(0, made)]);
  });

  it("returns the saved responses, and continues", async () => {
    const again = await openPartial(output, identity);
    expect([...again.written.keys()]).toEqual([1, 0]);
    expect(again.written.get(1)).toEqual(made);
    expect([...again.verdicts]).toEqual([[1, verdicts]]);
    await again.addVerdicts(0, verdicts);
    expect((await openPartial(output, identity)).verdicts.size).toBe(2);
    await again.remove();
    expect(existsSync(`${output}.partial`)).toBe(false);
  });

  it("drops an incomplete last line, truncated anywhere", async () => {
    const text = readFileSync(`${output}.partial`, "utf8");
    const last = text.trimEnd().lastIndexOf("\n") + 1;
    for (let end = last; end < text.length; end += 9) {
      writeFileSync(`${output}.partial`, text.slice(0, end));
      const again = await openPartial(output, identity);
      expect([...again.written.keys()]).toEqual([1]);
      await again.addWritten(0, made);
      expect((await openPartial(output, identity)).written.get(0)).toEqual(made);
    }
  });

  it("keeps responses and drops grades if only the grading changed", async () => {
    const again = await openPartial(output, { ...identity, grading: { order: ["hash"] } });
    expect([again.written.size, again.verdicts.size]).toEqual([2, 0]);
  });

  it.each<[string, RegExp, Partial<EvalIdentity>]>([
    ["another setting, by its name", /seed was 0 and is 1\. Remove it/, { generation: { seed: 1, temperature: 1 } }],
    ["fewer problems", /its 3 problems differ from these 2/, { problems: problems.slice(1) }],
    [
      "another prompt",
      /its 3 problems differ from these 3/,
      { problems: [...problems.slice(1), { ...problems[0], prompt_ids: [0, 8] }] },
    ],
  ])("is refused unchanged with %s", async (_, message, change) => {
    const before = readFileSync(`${output}.partial`, "utf8");
    await expect(openPartial(output, { ...identity, ...change })).rejects.toThrow(message);
    expect(readFileSync(`${output}.partial`, "utf8")).toBe(before);
  });

  it.each(["nonsense", "{}", '{"global_id":9,"responses":["a","b"]}', '{"global_id":2,"responses":["a"]}', "null"])(
    "is refused where a line in it is %s",
    async (line) => {
      const text = readFileSync(`${output}.partial`, "utf8").split("\n");
      writeFileSync(`${output}.partial`, [text[0], line, ...text.slice(1)].join("\n"));
      await expect(openPartial(output, identity)).rejects.toThrow(/line 2: it is not a line of an evaluation/);
    },
  );

  it("distinguishes weights and settings of models", async () => {
    const folder = memoryFolder("model");
    const prints = new Set<string>();
    const printed = async () => prints.add(await fingerprint(folder)).size;
    await folder.write("model.safetensors", new Uint8Array(3 << 20));
    expect(await printed()).toBe(1);
    await folder.write("model.safetensors", new Uint8Array(3 << 20).fill(1, 2_000_000, 2_000_001));
    expect(await printed()).toBe(2);
    await folder.write("adapter_config.json", '{"lora_alpha": 8}');
    expect(await printed()).toBe(3);
    await folder.write("README.md", "no matter");
    expect(await printed()).toBe(3);
  });
});

describe("the embedded model", () => {
  const argv = (output: string, ...more: string[]) => [
    "--limit",
    "12",
    "--n",
    "4",
    "--k",
    "1,3",
    "--temperature",
    "1",
    "--top_p",
    "1",
    "--output",
    at(output),
    ...more,
  ];

  it("writes the same bytes twice, also after Ctrl-C and an incomplete line", async () => {
    const { code, out, err } = await qwench(...argv("straight.json"));
    expect(code, err).toBe(0);
    expect(out).toContain("embedded: 12 problems, 4 responses each at temperature 1");
    const { results, records } = fileAt(at("straight.json"));
    expect(Object.keys(records)).toEqual(Array.from({ length: 12 }, (_, i) => `${i}`));
    expect(records[3].responses).toHaveLength(4);
    expect(new Set(records[3].responses).size).toBeGreaterThan(1);
    expect(Object.keys(results.pass_at)).toEqual(["1", "3"]);
    expect(results.pass_at["3"]).toBeGreaterThan(results.pass_at["1"]);
    expect(Object.keys(results.difficulty_accuracies)).toEqual(["1 step", "2 steps"]);
    expect(readFileSync(at("straight.report.html"), "utf8")).toContain("embedded: base");

    const partial = at("cut.json.partial");
    const lines = () => (existsSync(partial) ? readFileSync(partial, "utf8").split("\n").length - 1 : 0);
    const timer = setInterval(() => {
      if (lines() < 4) return;
      clearInterval(timer);
      process.emit("SIGINT");
    }, 1);
    // few slots: problems end one after the other
    const interrupted = await qwench(...argv("cut.json", "--batch_size", "4"));
    clearInterval(timer);
    expect(interrupted.code, interrupted.err).toBe(130);
    expect(interrupted.err).toMatch(/\d+ of 12 problems are in .*cut\.json\.partial; the same command continues/);
    expect(existsSync(at("cut.json"))).toBe(false);
    truncateSync(partial, readFileSync(partial).length - 9);
    const other = await qwench(...argv("cut.json", "--seed", "1"));
    expect([other.code, other.err]).toEqual([1, expect.stringContaining("seed was 0 and is 1")]);
    const resumed = await qwench(...argv("cut.json"));
    expect(resumed.err).toMatch(/Continuing after \d+ of 12 problems/);
    for (const name of [".json", ".report.html"]) {
      expect(readFileSync(at(`cut${name}`), "utf8")).toBe(readFileSync(at(`straight${name}`), "utf8"));
    }
    expect(existsSync(partial)).toBe(false);

    const again = await qwench(...argv("straight.json"));
    expect([again.code, again.err]).toEqual([1, expect.stringMatching(/straight\.json: it exists.*--overwrite/)]);
  });

  it("counts a problem that is too long as not solved", async () => {
    const long = `${"Paul gets 4 plums a day. ".repeat(40)}How many?`;
    const rows = [
      { question: "Nora has 15 lemons. Will has 9 more than Nora. How many do they have together?", answer: "#### 39" },
      { question: long, answer: 4 },
    ];
    writeFileSync(at("rows.jsonl"), rows.map((row) => JSON.stringify(row)).join("\n"));
    const { code, err, out } = await qwench(at("rows.jsonl"), "--n", "2", "--output", at("long.json"), "--json");
    expect(code, err).toBe(0);
    expect(err).toContain("1 of 2 problems are too long for the model's 256 positions: counted as not solved");
    const { results, records } = fileAt(at("long.json"));
    expect(JSON.parse(out)).toEqual(results);
    expect(results).toMatchObject({ dataset: "rows", total_problems: 2, max_tokens: 255, majority_accuracy: 50 });
    expect(records[0]).toMatchObject({ ground_truth: "39", source_dataset: "rows", n_total: 2 });
    expect(records[1]).toMatchObject({ responses: ["", ""], n_correct: 0, finish_reasons: ["length", "length"] });
    expect(records[1].input_tokens).toBeGreaterThan(256);
  });

  it.each<[string, number, RegExp, ...string[]]>([
    [
      "more tokens than it has positions",
      2,
      /--max_tokens must be below the model's 256 positions/,
      "--max_tokens",
      "256",
    ],
    [
      "a selection that leaves nothing",
      1,
      /no problems to evaluate: embedded has none with level 9/,
      "--where",
      "level=9",
    ],
    ["a split that there is not", 2, /the splits test and train, got "dev"/, "--split", "dev"],
  ])("is not asked with %s", async (_, exit, message, ...more) => {
    const { code, err } = await qwench("--output", at("never.json"), ...more);
    expect([code, err]).toEqual([exit, expect.stringMatching(message)]);
    expect(existsSync(at("never.json.partial"))).toBe(false);
  });
});
