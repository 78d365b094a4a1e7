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

const BOXES = [12, 35, 48, 51, 67, 73, 86, 94];
/** Shelves by number: the embedded model tells numbers apart, but not names. */
const SHELVES = [3, 14, 27, 38, 45, 59, 66, 81];
const handbook = SHELVES.map((shelf, i) => `Shelf ${shelf} holds ${BOXES[i]} boxes.`).join("\n");

/** Six questions about each fact of a text, as a model would write them. */
const writes: Answer = (res, request, n) => {
  const facts = [...request.body.messages[0].content.matchAll(/Shelf (\d+) holds (\d+)/g)];
  const pairs = facts.flatMap(([, shelf, number]) =>
    [
      `How many boxes are on shelf ${shelf}?`,
      `Shelf ${shelf} holds how many boxes?`,
      `How many boxes does the shelf ${shelf} have?`,
      `Shelf ${shelf} has how many boxes?`,
      `How many does shelf ${shelf} hold?`,
      `Which number of boxes does shelf ${shelf} have?`,
    ].map((question) => ({ question, answer: `#### ${number}` })),
  );
  says(JSON.stringify(pairs))(res, request, n);
};

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "qwench-handbook-"));
  writeFileSync(at("handbook.txt"), handbook);
  const questions = SHELVES.map((shelf) => ({ prompt: `How many boxes does shelf ${shelf} hold?` }));
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
  const right = rows.filter(({ responses }, i) => (responses[0] as string).trim() === `#### ${BOXES[i]}`);
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
    "50",
    "--learning_rate",
    "5e-3",
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
