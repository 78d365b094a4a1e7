import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import {
  parsePreference,
  type TokenizedPair,
  tokenizePreference,
  tokenizePreferences,
} from "../../src/data/preferences.ts";
import type { NumberedRow } from "../../src/data/rows.ts";
import type { Tokenizer } from "../../src/data/tokenizer.ts";
import { nodeFolder } from "../../src/platform/node/fs.ts";
import { openTokenizer } from "../../src/session/tokenizer.ts";

interface GoldenCompletion {
  input_ids: number[];
  completion_mask: number[];
}
interface GoldenCase {
  name: string;
  max_length: number | null;
  truncation_mode: "keep_start" | "keep_end";
  rows: Record<string, unknown>[];
  pairs: { chosen: GoldenCompletion; rejected: GoldenCompletion }[];
}

// made by TRL 1.13's DPOTrainer and DataCollatorForPreference with the embedded model's tokenizer
const cases: GoldenCase[] = JSON.parse(readFileSync(new URL("cases/preferences.json", import.meta.url), "utf8"));

const source = (row: Record<string, unknown>, number = 1): NumberedRow => ({ row, number, file: "pairs.jsonl" });
const masked = ({ input_ids, prompt }: TokenizedPair["chosen"]): GoldenCompletion => ({
  input_ids: [...(input_ids as Int32Array)],
  completion_mask: Array.from(input_ids as Int32Array, (_, i) => (i < prompt ? 0 : 1)),
});

describe("preferences become the tokens that TRL makes of them", () => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = (await openTokenizer(nodeFolder("assets/tiny")))!;
  });

  it.each(cases.map((one) => [`${one.name}, max_length ${one.max_length}, ${one.truncation_mode}`, one] as const))(
    "%s",
    (_, { rows, pairs, max_length, truncation_mode }) => {
      const made = rows.flatMap((row) => {
        const { pair } = tokenizePreference(source(row), { tokenizer, max_length, truncation_mode });
        return pair ? [{ chosen: masked(pair.chosen), rejected: masked(pair.rejected) }] : [];
      });
      expect(made).toEqual(pairs);
    },
  );

  it("counts what is left out, cut, odd and equal", async () => {
    const ids = (chosen_ids: number[], rejected_ids: number[], prompt_ids = [1, 2]) => ({
      prompt_ids,
      chosen_ids,
      rejected_ids,
    });
    const rows = [ids([3], [4]), ids([3, 4, 5], [6]), ids([3], [3]), ids([3], [4], [1, 2, 3, 4])].map((row, i) =>
      source(row, i + 1),
    );
    const made = await tokenizePreferences(rows, { tokenizer: null, max_length: 4 });
    expect(made).toMatchObject({ dropped: 1, truncated: 1, num_tokens: 3 + 3 + 4 + 3 + 3 + 3 });
    expect(made.rows.map(({ chosen }) => chosen.input_ids.length)).toEqual([3, 4, 3]);
    expect(made.warnings.join("\n")).toMatch(/row 3: "chosen" and "rejected" are the same/);
    expect(made.warnings.join("\n")).toMatch(/1 of 4 rows left out: the prompt fills max_length 4/);
    await expect(tokenizePreferences(rows.slice(3), { tokenizer: null, max_length: 4 })).rejects.toThrow(
      "the prompt of each of the 1 rows fills max_length 4",
    );
  });
});

describe("a row that is no preference is refused with what is wrong", () => {
  const user = { role: "user", content: "2+2?" };
  const four = { role: "assistant", content: "4" };
  it.each<[Record<string, unknown>, string]>([
    [{ prompt: "a", chosen: "b" }, 'row 1: has no "rejected": it has the keys prompt, chosen'],
    [{ prompt: "a", completion: "b" }, 'row 1: has no "chosen"'],
    [{ prompt: "a", chosen: "", rejected: "b" }, '"chosen" is empty'],
    [{ prompt: [user], chosen: "4", rejected: "5" }, '"prompt" must be a string where "chosen" and "rejected" are'],
    [{ prompt: "a", chosen: [four], rejected: "5" }, "must be two strings or two lists of messages"],
    [{ chosen: [four], rejected: [four] }, "has no prompt"],
    [{ prompt: [], chosen: [four], rejected: [four] }, '"prompt" has no messages'],
    [{ prompt: [user], chosen: [user], rejected: [four] }, "has no assistant turn"],
  ])("%j", (row, said) => {
    expect(() => parsePreference(source(row))).toThrow(said);
  });

  it("nothing before the first token of a completion", () => {
    const row = { chosen_ids: [5], rejected_ids: [5, 6] };
    expect(() => tokenizePreference(source(row), { tokenizer: null })).toThrow(
      "its chosen completion has no token after another token",
    );
    expect(() => tokenizePreference(source({ ...row, prompt_ids: [9] }), { tokenizer: null, vocab_size: 9 })).toThrow(
      "token id 9 is outside the model's vocabulary of 9",
    );
  });

  it("a text prompt beside whole conversations is their first turn once more; a system prompt goes before it", () => {
    const parsed = parsePreference(
      source({ prompt: "2+2?", chosen: [user, four], rejected: [user, { ...four, content: "5" }] }),
      "Be brief.",
    );
    expect(parsed).toMatchObject({
      prompt: [{ role: "system", content: "Be brief." }, user],
      chosen: [four],
      rejected: [{ role: "assistant", content: "5" }],
    });
  });

  it("characters of two units stay whole in a shared text", () => {
    expect(parsePreference(source({ chosen: "so 😀", rejected: "so 😁" }))).toMatchObject({
      prompt: "so",
      chosen: " 😀",
      rejected: " 😁",
    });
  });
});
