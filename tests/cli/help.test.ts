import { expect, test } from "vitest";
import { commandHelp, defaultText, wrap } from "../../src/cli/terminal/help.ts";
import { fieldsOf, type Method, methods } from "../../src/recipe/recipe.ts";

const help = (width: number, method: Method = "sft") =>
  commandHelp({
    usage: "qwench sft [recipe.yaml] [--field value]…",
    summary: "Fine-tunes a model on rows.",
    method,
    flags: [{ name: "json", type: "string", value: "FILE", help: "Write there." }],
    width,
  });

test.each(methods)(
  "every field of %s stands in help with its text, default and unit, once, under its group",
  (method) => {
    const flat = help(100, method).replace(/\s+/g, " ");
    for (const field of fieldsOf(method)) {
      expect(flat.split(`--${field.name} `)).toHaveLength(2);
      expect(flat).toContain(`${field.help} `);
      expect(flat.slice(flat.indexOf(`--${field.name} `))).toContain(`(default ${defaultText(field)}`);
      for (const choice of field.choices ?? []) expect(flat).toContain(choice);
      if (field.unit) expect(flat).toContain(`in ${field.unit}`);
    }
    expect(help(100, method)).toContain("\nOptimizer\n");
    expect(flat).toContain(method === "sft" ? "default 2e-5" : "default 1e-6");
    expect(flat).toContain("--json FILE Write there.");
    expect(flat).toContain("-h, --help Show this text.");
  },
);

test("GRPO's help has its own groups and words, SFT's none of them", () => {
  expect(help(100, "grpo")).toMatch(/\nGeneration\n[\s\S]*\nRewards\n[\s\S]*\nGRPO\n/);
  expect(help(100)).not.toMatch(/\n(Generation|Rewards|GRPO)\n/);
  expect(help(100, "grpo")).toContain("--reward_weights NUMBERS");
  expect(help(100, "grpo")).toContain("--reward_funcs NAMES");
  expect(help(100, "grpo")).not.toContain("--packing");
});

test.each([40, 72, 80, 100, 200])("at %i columns no line is longer, unless it is one word", (width) => {
  for (const line of methods.flatMap((method) => help(width, method).split("\n"))) {
    if (line.trim().includes(" ")) expect(line.length).toBeLessThanOrEqual(width);
    expect(line).toBe(line.trimEnd());
  }
});

test("wrap keeps every word and breaks at the width", () => {
  expect(wrap("one two three", 7)).toEqual(["one two", "three"]);
  expect(wrap("a-very-long-word b", 5)).toEqual(["a-very-long-word", "b"]);
  expect(wrap("", 5)).toEqual([""]);
});
