import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { main } from "../../src/cli/main.ts";
import { plainText } from "../../src/cli/terminal/plain-text.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { GENERATION_CONFIG, TEXT_SPEC, writeRandomAdapter, writeTextModel } from "../session/text-fixtures.ts";

let root: string;
const at = (...names: string[]) => join(root, ...names);

interface Ran {
  code: number;
  /** stdout */
  out: string;
  /** stderr */
  said: string;
}

/** Runs a command line in this process. */
async function run(...argv: string[]): Promise<Ran> {
  let [out, said] = ["", ""];
  const spies = [
    vi.spyOn(console, "error").mockImplementation((...parts) => void (said += `${parts.join(" ")}\n`)),
    vi.spyOn(process.stdout, "write").mockImplementation((text) => (out += text).length > 0),
    vi.spyOn(process.stderr, "write").mockImplementation((text) => (said += text).length > 0),
  ];
  try {
    return { code: await main(argv), out, said };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

const generate = (...argv: string[]) => run("generate", "--model", at("model"), "--max_new_tokens", "12", ...argv);
const rowsOf = (text: string) =>
  text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
const ROWS = [
  { question: "how many?", answer: "3", id: 1 },
  { prompt: "hello", id: 2 },
  {
    messages: [
      { role: "user", content: "hi" },
      { role: "assistant", content: "ho" },
    ],
    id: 3,
  },
  {
    prompt: [
      { role: "system", content: "be" },
      { role: "user", content: "hi" },
    ],
    id: 4,
  },
];

function rowsFile(lines: unknown[]): string {
  const file = join(mkdtempSync(at("rows-")), "rows.jsonl");
  writeFileSync(file, lines.map((line) => `${typeof line === "string" ? line : JSON.stringify(line)}\n`).join(""));
  return file;
}

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "qwench-generate-"));
  vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:9"); // no test may contact the real hub
  const model = await writeTextModel(nodeFolder(at("model")));
  await writeRandomAdapter(nodeFolder(at("adapter")), model, {
    r: 4,
    lora_alpha: 8,
    lora_dropout: 0,
    use_rslora: false,
    target_modules: ["q_proj", "down_proj"],
  });
});
afterEach(() => rmSync(at("out.jsonl"), { force: true }));
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true, force: true });
});

describe("one prompt", () => {
  it("is answered on stdout, reproducibly, with only the answer", async () => {
    const [one, two] = [await generate("hello"), await generate("--prompt", "hello", "--seed=42")];
    expect([one.code, two.code]).toEqual([0, 0]);
    expect(one.out.length).toBeGreaterThan(1);
    expect(two.out).toBe(one.out);
    expect((await generate("hello", "--seed", "7")).out).not.toBe(one.out);
  });

  it("is continued as plain text with --raw, with the most likely tokens at temperature 0", async () => {
    const greedy = await generate("hello", "--raw", "--temperature", "0");
    expect((await generate("hello", "--raw", "--temperature", "0", "--seed", "9")).out).toBe(greedy.out);
    expect((await generate("hello", "--temperature", "0")).out).not.toBe(greedy.out);
    const top = await generate("hello", "--raw", "--temperature", "1", "--top_k", "1");
    expect(top.out).toBe(greedy.out);
  });

  it("is answered by the adapter on its own base, or on the given base", async () => {
    const alone = await run("generate", "--adapter", at("adapter"), "hello", "--max_new_tokens", "12");
    const named = await generate("--adapter_name_or_path", at("adapter"), "hello");
    expect(alone.code, alone.said).toBe(0);
    expect(alone.out).toBe(named.out);
    expect(alone.out).not.toBe((await generate("hello")).out);
  });

  it("has several answers, and log-probs, on request", async () => {
    const { out, code } = await generate("hello", "--n", "3", "--logprobs");
    expect(code).toBe(0);
    expect(out.match(/── [123] of 3 \(\d+ tokens, (stop|length)\) ──/g)).toHaveLength(3);
    expect(out.match(/^token +id +logprob$/gm)).toHaveLength(3);
    expect(out).toMatch(/^".*" +\d+ +-\d+\.\d{4}$/m);
  });

  it("ends before a stop string, which may be given several times", async () => {
    const free = await generate("hello", "--raw", "--temperature", "0");
    const cut = await generate("hello", "--raw", "--temperature", "0", "--stop", free.out.slice(4, 6), "--stop=ZZZZ");
    expect(cut.out).toBe(`${free.out.slice(0, free.out.indexOf(free.out.slice(4, 6)))}\n`);
  });
});

describe("a file of prompts", () => {
  it("is answered row by row: the rows' own columns, and a list for each question about the responses", async () => {
    const { code, said } = await generate("--file", rowsFile(ROWS), "--output", at("out.jsonl"), "--n", "2");
    expect(code, said).toBe(0);
    expect(said).toMatch(/8 of 8 responses, \d+ tokens in/);
    const made = rowsOf(readFileSync(at("out.jsonl"), "utf8"));
    expect(made.map(({ responses, finish_reasons, prompt_tokens, completion_tokens, ...row }) => row)).toEqual(ROWS);
    for (const { responses, finish_reasons, prompt_tokens, completion_tokens } of made) {
      expect([responses.length, finish_reasons.length, completion_tokens.length]).toEqual([2, 2, 2]);
      expect(prompt_tokens).toBeGreaterThan(10);
    }
    expect(existsSync(at("out.jsonl.partial"))).toBe(false);
    // to stdout the same; and a row's responses do not depend on n or on how many are written at a time
    const printed = await generate("--file", rowsFile(ROWS), "--logprobs", "--batch_size", "1");
    const rows = rowsOf(printed.out);
    expect(rows.map((row) => row.responses)).toEqual(made.map((row) => row.responses.slice(0, 1)));
    for (const { logprobs, completion_ids, completion_tokens } of rows) {
      expect([logprobs[0].length, completion_ids[0].length]).toEqual([completion_tokens[0], completion_tokens[0]]);
    }
  });

  it("continues after an interruption, with the same result as an uninterrupted run", async () => {
    const file = rowsFile([...ROWS, ...ROWS, ...ROWS]);
    await generate("--file", file, "--output", at("out.jsonl"));
    const whole = readFileSync(at("out.jsonl"), "utf8");
    rmSync(at("out.jsonl"));
    // stopped as Ctrl-C does it, once a row is done
    const watch = setInterval(() => {
      if (existsSync(at("out.jsonl.partial")) && readFileSync(at("out.jsonl.partial"), "utf8").split("\n").length > 2) {
        clearInterval(watch);
        process.emit("SIGINT");
      }
    }, 1);
    const cut = await generate("--file", file, "--output", at("out.jsonl"), "--batch_size", "1");
    clearInterval(watch);
    expect(cut.code, cut.said).toBe(130);
    expect(cut.said).toMatch(/\d+ of 12 rows are in .*out\.jsonl\.partial; the same command continues from there/);
    expect(existsSync(at("out.jsonl"))).toBe(false);
    const other = await generate("--file", file, "--output", at("out.jsonl"), "--top_k", "3");
    expect(other.code).toBe(1);
    expect(other.said).toMatch(/Cannot continue from .*out\.jsonl\.partial: top_k was 40 and is 3\. Remove it/);
    // killed in the middle of a line
    writeFileSync(at("out.jsonl.partial"), `${readFileSync(at("out.jsonl.partial"), "utf8")}{"row":2,"respo`);
    const rest = await generate("--file", file, "--output", at("out.jsonl"));
    expect(rest.said).toMatch(/Continuing after [1-9]\d* of 12 rows/);
    expect(rest.code, rest.said).toBe(0);
    expect(readFileSync(at("out.jsonl"), "utf8")).toBe(whole);
    expect(existsSync(at("out.jsonl.partial"))).toBe(false);
  });

  it("overwrites nothing without a flag", async () => {
    writeFileSync(at("out.jsonl"), "mine");
    const file = rowsFile(ROWS.slice(1, 2));
    const { code, said } = await generate("--file", file, "--output", at("out.jsonl"));
    expect([code, said]).toEqual([
      1,
      expect.stringContaining("out.jsonl: it exists. Replace it with --overwrite true"),
    ]);
    expect(readFileSync(at("out.jsonl"), "utf8")).toBe("mine");
    expect((await generate("--file", file, "--output", at("out.jsonl"), "--overwrite")).code).toBe(0);
    expect(rowsOf(readFileSync(at("out.jsonl"), "utf8"))).toHaveLength(1);
  });

  it.each([
    ["no JSON", ['{"prompt": "a"}', "{oops"], /rows\.jsonl, line 2/],
    ["no prompt", [{ prompt: "a" }, { text: "b" }], /rows\.jsonl, row 2: has the keys text; it needs prompt/],
    ["an empty prompt", [{ prompt: "a" }, { prompt: "" }], /rows\.jsonl, row 2: "prompt" is empty/],
    ["a column of ours", [{ prompt: "a", responses: [] }], /row 1: already has a column responses/],
    ["too long a prompt", [{ prompt: "x".repeat(300) }], /row 1: the prompt has 3\d\d tokens, and the model has 256/],
    ["no row", [], /rows\.jsonl has no rows/],
  ])("with %s is refused with the row's number", async (_, lines, message) => {
    const { code, said, out } = await generate("--file", rowsFile(lines), "--output", at("out.jsonl"));
    expect(said).toMatch(message);
    expect(said).not.toMatch(/\n\s+at /);
    expect([code, out, existsSync(at("out.jsonl"))]).toEqual([1, "", false]);
  });
});

describe("wrong usage exits 2", () => {
  it.each([
    [[], "Give a prompt, or a file of prompts with --file"],
    [["a", "b"], "Give at most one prompt, got 2"],
    [["a", "--prompt", "b"], "The prompt is given twice"],
    [["a", "--file", "b"], "Give a prompt or --file, not both"],
    [[""], "The prompt is empty"],
    [["a", "--temprature", "1"], "Unknown flag --temprature: did you mean --temperature?"],
    [["a", "--temperature", "hot"], '--temperature must be a number of at least 0, got "hot"'],
    [["a", "--top_p", "1.5"], '--top_p must be a number between 0 and 1, got "1.5"'],
    [["a", "--repetition_penalty", "0"], '--repetition_penalty must be a number above 0, got "0"'],
    [["a", "--n", "1.5"], '--n must be a whole number of at least 1, got "1.5"'],
    [["a", "--n", "2", "--temperature", "0"], "--n 2 needs a --temperature above 0"],
    [["a", "--stop="], "--stop must not be empty"],
    [["a", "--raw", "--system", "b"], "--system needs the chat template"],
    [["a", "--dtype", "int4"], "--dtype must be one of auto"],
    [["a", "--model_name_or_path", "b"], "--model and --model_name_or_path are the same"],
  ])("%j", async (argv, message) => {
    const { code, said, out } = await generate(...argv);
    expect(said).toContain(message);
    expect([code, out]).toEqual([2, ""]);
  });
});

describe("a model that cannot be used exits 1", () => {
  const say = async (name: string, options: Parameters<typeof writeTextModel>[1] = {}, without: string[] = []) => {
    const folder = await writeTextModel(nodeFolder(at(name)), options);
    for (const file of without) await folder.remove(file);
    const { code, said } = await run("generate", "--model", at(name), "hello");
    expect(said).not.toMatch(/\n\s+at /);
    expect(code, said).toBe(1);
    return said;
  };

  it("with the reason", async () => {
    expect(await say("mute", {}, ["tokenizer.json"])).toMatch(
      /NotFoundError: Cannot write text with .*mute: it has no/,
    );
    const generation = { ...GENERATION_CONFIG, eos_token_id: [100, 500] };
    expect(await say("eos", { generation })).toMatch(
      /FormatError: .*eos_token_id 500 of .*outside the vocabulary of 101/,
    );
    expect(await say("hot", { generation: { temperature: "hot" } })).toMatch(
      /hot\/generation_config\.json: temperature/,
    );
    expect(await say("small", { spec: { ...TEXT_SPEC, vocab_size: 64 } })).toMatch(/outside the .*vocabulary of 64/);
    const none = await run("generate", "--model", at("none"), "hello");
    expect([none.code, none.said]).toEqual([
      1,
      expect.stringMatching(/Cannot load .*none: there is no such file or folder/),
    ]);
  });

  it("and lists unsupported settings of generation_config.json", async () => {
    const generation = { ...GENERATION_CONFIG, num_beams: 4 };
    await writeTextModel(nodeFolder(at("beams")), { generation });
    const { said, code } = await run("generate", "--model", at("beams"), "hello", "--max_new_tokens", "2");
    expect([code, said]).toEqual([0, expect.stringContaining("asks for num_beams, which Qwench does not implement")]);
  });
});

it("control characters of a model never reach the terminal", () => {
  expect(plainText("a\u001b[2Jb\u0007\r\nc\td\u009b31me\u0000\u007fé😀\u00a0")).toBe("a[2Jb\nc\td31meé😀\u00a0");
});
