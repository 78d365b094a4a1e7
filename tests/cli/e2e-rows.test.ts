import { mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { contents } from "../train/fixtures.ts";
import { at, refused, rowsFile, run, useEarlierRun } from "./e2e.ts";

useEarlierRun();

describe("the rows", () => {
  const good = { input_ids: [1, 2, 3, 4], labels: [1, 2, 3, 4] };
  it.each<[string, unknown[], RegExp, ...string[]]>([
    [
      "a line that is not JSON, by its number",
      [good, good, '{"input_ids": [1, 2'],
      /DataError: .*rows\.jsonl, line 3 is not JSON .*\{"input_ids": \[1, 2/,
    ],
    ["a line that is no object", [good, "[1, 2]"], /DataError: .*line 2 must be a JSON object/],
    ["a row with no completion", [{ prompt: "What?" }], /DataError: .*rows\.jsonl, row 1.*completion/],
    [
      "a row whose completion is empty",
      [good, { prompt: "What?", completion: "" }],
      /DataError: .*rows\.jsonl, row 2.*completion/,
    ],
    ["a row of no known format", [{ instruction: "x" }], /DataError: .*row 1.*instruction/],
    [
      "tokens outside the vocabulary",
      [good, { input_ids: [1, 256, 3] }],
      /DataError: .*row 2.* token id 256 is outside the model's vocabulary of 256/,
    ],
    ["a negative token", [{ input_ids: [1, -2, 3] }], /DataError: .*row 1.*-2/],
    [
      "a label outside the vocabulary",
      [{ input_ids: [1, 2, 3], labels: [1, 2, 999] }],
      /DataError: .*row 1.* token id 999/,
    ],
    ["labels of another length", [{ input_ids: [1, 2, 3], labels: [1, 2] }], /DataError: .*row 1.*labels/],
    ["text without a tokenizer", [{ text: "hello" }], /DataError: .*row 1.* has text, but no tokenizer was loaded/],
    ["an empty file", [], /DataError: The data set has no rows/],
    [
      "no label anywhere",
      [{ input_ids: [1, 2, 3], labels: [-100, -100, -100] }],
      /DataError: .*none of the 1 rows has a label/,
    ],
  ])("%s", async (_, lines, message, ...more) => {
    await refused(at("sharded"), rowsFile(lines), message, ...more);
  });

  it("a missing file or split; a file of another kind", async () => {
    await refused(
      at("sharded"),
      at("none.jsonl"),
      /NotFoundError: Cannot read rows from .*none\.jsonl: there is no such file/,
    );
    await refused(
      at("sharded"),
      at("rows.jsonl"),
      /NotFoundError: Cannot read rows from .*held\.jsonl/,
      "--eval_strategy",
      "steps",
      "--eval_dataset_name",
      at("held.jsonl"),
    );
    writeFileSync(at("rows.parquet"), "PAR1 but not really");
    await refused(at("sharded"), at("rows.parquet"), /(Format|Data)Error: .*rows\.parquet/);
    await refused(
      at("sharded"),
      at("rows.jsonl"),
      /NotFoundError: .*template\.jinja/,
      "--chat_template_path",
      at("template.jinja"),
    );
  });

  it("empty evaluation rows", async () => {
    await refused(
      at("sharded"),
      at("rows.jsonl"),
      /DataError: The data set has no rows/,
      "--eval_strategy",
      "steps",
      "--eval_dataset_name",
      rowsFile([]),
    );
  });
});

describe("the recipe", () => {
  const recipe = (text: string) => {
    const file = join(mkdtempSync(at("recipe-")), "recipe.yaml");
    writeFileSync(file, text);
    return file;
  };

  it.each([
    [
      "an unknown key, with the nearest name",
      "lora_rank: 8\n",
      /RecipeError: .*recipe\.yaml:1: Unknown recipe key "lora_rank": did you mean lora_r\?/,
    ],
    [
      "rank 0",
      "max_steps: 1\nlora_r: 0\n",
      /RecipeError: .*recipe\.yaml:2: lora_r must be an integer of at least 1, got 0/,
    ],
    ["YAML that cannot be parsed", "a: [1\n", /RecipeError: Cannot read .*recipe\.yaml:\d+:\d+ as YAML/],
  ])("%s", async (_, text, message) => {
    const before = await contents(nodeFolder(at("earlier")));
    const { code, said } = await run(
      "sft",
      recipe(text),
      "--output_dir",
      at("earlier"),
      "--overwrite_output_dir",
      "true",
    );
    expect(said).toMatch(message);
    expect(code).toBe(/^RecipeError: /m.test(said) ? 2 : 1);
    expect(await contents(nodeFolder(at("earlier")))).toEqual(before);
  });

  it("values that only the run can check", async () => {
    await refused(
      at("sharded"),
      at("rows.jsonl"),
      /RecipeError: lora_r must be an integer of at least 1, got "?0"?/,
      "--lora_r",
      "0",
    );
    await refused(
      at("sharded"),
      at("rows.jsonl"),
      /UnsupportedError: Cannot apply LoRA to "lm_head"/,
      "--lora_target_modules",
      "lm_head",
    );
    await refused(at("sharded"), at("rows.jsonl"), /RecipeError: .*dtype/, "--dtype", "int3");
  });

  it("wrong usage exits 2 and points to --help", async () => {
    for (const argv of [["sft", "--lora_rank", "8"], ["train"], ["sft", "a.yaml", "b.yaml"], ["info", "x"], []]) {
      const stdout = vi.spyOn(process.stdout, "write").mockImplementation(() => true);
      const { code, said } = await run(...argv);
      stdout.mockRestore();
      expect(code, argv.join(" ")).toBe(2);
      if (argv.length > 0) expect(said).toMatch(/--help lists the flags/);
    }
    expect((await run("sft", at("nothing.yaml"))).said).toMatch(/NotFoundError: Cannot read recipe .*nothing\.yaml/);
  });
});
