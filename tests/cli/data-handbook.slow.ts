import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Answer, type JudgeServer, says, serveJudge } from "../rewards/judge/judge-server.ts";
import { run } from "./e2e.ts";

// From a made-up handbook to an adapter: a stand-in endpoint writes the pairs, the embedded model learns them, and questions whose
// words are in no row are asked before and after.

let root: string;
let server: JudgeServer;
const at = (...names: string[]) => join(root, ...names);

const LITRES = [12, 35, 48, 51, 67, 73, 86, 94];
const NAMES = ["Tom", "Ann", "Carl", "Vera", "Ida", "Jack", "Quinn", "Ben"];
const handbook = NAMES.map((name, i) => `The locker of ${name} has the number ${LITRES[i]}.`).join("\n");

/** Six questions about each fact of a text, as a model would write them. */
const writes: Answer = (res, request, n) => {
  const facts = [...request.body.messages[0].content.matchAll(/locker of (\w+) has the number (\d+)/g)];
  const pairs = facts.flatMap(([, name, number]) =>
    [
      `Which locker does ${name} have?`,
      `What is the number of ${name}?`,
      `${name} has a locker. Which number?`,
      `How many is the locker of ${name}?`,
      `Which number does the locker of ${name} have?`,
      `What is the number that the locker of ${name} has?`,
    ].map((question) => ({ question, answer: `#### ${number}` })),
  );
  says(JSON.stringify(pairs))(res, request, n);
};

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "qwench-handbook-"));
  writeFileSync(at("handbook.txt"), handbook);
  const questions = NAMES.map((name) => ({ prompt: `What number does the locker of ${name} have?` }));
  writeFileSync(at("questions.jsonl"), questions.map((row) => `${JSON.stringify(row)}\n`).join(""));
  server = await serveJudge(writes);
});
afterAll(async () => {
  await server.close();
  rmSync(root, { recursive: true, force: true });
});

/** Share of the held-out questions that are answered right. */
async function accuracy(name: string, ...adapter: string[]): Promise<number> {
  const output = at(`${name}.jsonl`);
  const { code, said } = await run(
    "generate",
    "--file",
    at("questions.jsonl"),
    "--output",
    output,
    "--temperature",
    "0",
    "--max_new_tokens",
    "24",
    ...adapter,
  );
  expect(code, said).toBe(0);
  const rows = readFileSync(output, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const right = rows.filter(({ responses }, i) => (responses[0] as string).trim() === `#### ${LITRES[i]}`);
  return right.length / rows.length;
}

it("SFT on its own made data answers held-out questions about a handbook", async () => {
  const made = await run(
    "data",
    "make",
    at("handbook.txt"),
    "--output",
    at("made"),
    "--api_base",
    server.url,
    "--api_model",
    "writer",
    "--rate",
    "false",
    "--num_pairs",
    "100",
  );
  expect(made.code, made.said).toBe(0);
  const before = await accuracy("before");
  const settings = [
    "--num_train_epochs",
    "80",
    "--learning_rate",
    "8e-3",
    "--lora_r",
    "64",
    "--lora_alpha",
    "64",
    "--per_device_train_batch_size",
    "8",
    "--gradient_accumulation_steps",
    "1",
    "--warmup_ratio",
    "0",
  ];
  const trained = await run("sft", at("made/recipe.yaml"), "--model_name_or_path", "assets/tiny", ...settings);
  expect(trained.code, trained.said).toBe(0);
  console.log(
    trained.said
      .split("\n")
      .filter((line) => /^step/.test(line))
      .at(-1),
  );
  const after = await accuracy("after", "--adapter", at("made/adapter"));
  console.log(`held-out questions right: ${(100 * before).toFixed(0)} % before, ${(100 * after).toFixed(0)} % after`);
  expect(before).toBeLessThanOrEqual(0.25);
  expect(after).toBeGreaterThanOrEqual(before + 0.4);
});
