import { once } from "node:events";
import { createWriteStream, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { openMixture } from "../../../src/cli/sources/mixture.ts";
import { nodeFolder } from "../../../src/platform/node/fs.ts";
import { openStream, RowStream } from "../../../src/train/sft/row-stream.ts";
import { qwenTokenizer } from "../../data/fixtures.ts";
import { integers } from "../fixtures.ts";

let root: string;
let file: string;
const ROWS = 60_000;
const NOTES = "n".repeat(4000);
const WORDS = ["model", "token", "gradient", "the", "of", "weights", "é", "42", "step", "loss", "and", "is"];

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "stream-"));
  file = join(root, "rows.jsonl");
  const next = integers(5);
  const out = createWriteStream(file);
  for (let i = 0; i < ROWS; i++) {
    const text = Array.from({ length: 20 }, () => WORDS[next(WORDS.length)]).join(" ");
    if (!out.write(`${JSON.stringify({ notes: NOTES, text: `${i} ${text}` })}\n`)) await once(out, "drain");
  }
  out.end();
  await once(out, "close");
});

afterAll(() => rmSync(root, { recursive: true, force: true }));

it("reads 60 000 rows, 250 MB, within 120 MB more memory than the first 5 000 took", async () => {
  expect(statSync(file).size).toBeGreaterThan(2.2e8);
  const rows = openMixture([{ path: file }], { cache: nodeFolder(root) });
  const tokenize = { tokenizer: qwenTokenizer(), max_length: 64 };
  const options = {
    packing: true,
    packing_strategy: "bfd",
    max_length: 64,
    shuffle_dataset: true,
    seed: 1,
    data_seed: null,
  } as const;
  const stream = new RowStream(await openStream(rows, tokenize, options));
  const rss = () => process.memoryUsage().rss / 1e6;
  let early = 0;
  let most = 0;
  let read = 0;
  while (stream.here.epoch === 0 && stream.here.row < 55_000) {
    read += (await stream.next(250)).length;
    if (stream.here.row <= 5000) early = Math.max(early, rss());
    else most = Math.max(most, rss());
  }
  console.log(
    `rows of ${(statSync(file).size / 1e6).toFixed(0)} MB: ${early.toFixed(0)} MB after 5 000 rows, at most ${most.toFixed(0)} MB later; ${read} examples`,
  );
  expect(most - early).toBeLessThan(120);
});
