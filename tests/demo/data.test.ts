import { expect, test } from "vitest";
import { hubDataOf } from "../../demo/data/hub.ts";
import { pastedFile } from "../../demo/data/own-file.ts";

test.each([
  ["openai/gsm8k", { id: "openai/gsm8k" }],
  ["https://huggingface.co/datasets/openai/gsm8k", { id: "openai/gsm8k" }],
  [
    "https://huggingface.co/datasets/openai/gsm8k/viewer/main/test?row=3",
    { id: "openai/gsm8k", config: "main", split: "test" },
  ],
  ["https://huggingface.co/datasets/openai/gsm8k/viewer/socratic", { id: "openai/gsm8k", config: "socratic" }],
  ["https://hf.co/datasets/squad", { id: "squad" }],
  ["datasets/trl-lib/tldr", { id: "trl-lib/tldr" }],
  ["https://huggingface.co/datasets/a/b/tree/main", { id: "a/b" }],
  ["https://huggingface.co/Qwen/Qwen3-0.6B", null],
  ["https://example.org/datasets/a/b", null],
  ["grade school maths", null],
  ["", null],
])("the data set of %j", (text, wanted) => {
  expect(hubDataOf(text)).toEqual(wanted);
});

test("pasted text is a file of the format that it seems to have", async () => {
  const name = (text: string) => (pastedFile(text) as File).name;
  expect(name('{"a": 1}\n{"a": 2}')).toBe("pasted.jsonl");
  expect(name(' [{"a": 1}] ')).toBe("pasted.json");
  expect(name("question,answer\n1,2")).toBe("pasted.csv");
  expect(name("question\tanswer\n1\t2")).toBe("pasted.tsv");
  expect(await (pastedFile("\n{}\n\n") as File).text()).toBe("{}\n");
  expect(pastedFile("  ")).toBe("Paste some rows first.");
  expect(pastedFile("hello")).toMatch(/^One line is no table/);
});
