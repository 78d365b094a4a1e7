import { expect, test } from "vitest";
import { commandHelp, defaultText, wrap } from "../../src/cli/help.ts";
import { fields } from "../../src/recipe.ts";

const help = (width: number) =>
  commandHelp({
    usage: "qwench sft [recipe.yaml] [--field value]…",
    summary: "Fine-tunes a model on rows.",
    method: "sft",
    flags: [{ name: "json", type: "string", value: "FILE", help: "Write there." }],
    width,
  });

test("every field stands in help with its text, default and unit, once, under its group", () => {
  const flat = help(100).replace(/\s+/g, " ");
  for (const field of fields) {
    expect(flat.split(`--${field.name} `)).toHaveLength(2);
    expect(flat).toContain(`${field.help} `);
    expect(flat.slice(flat.indexOf(`--${field.name} `))).toContain(`(default ${defaultText(field, "sft")}`);
    for (const choice of field.choices ?? []) expect(flat).toContain(choice);
    if (field.unit) expect(flat).toContain(`in ${field.unit}`);
  }
  expect(help(100)).toContain("\nOptimizer\n");
  expect(flat).toContain("default 2e-5");
  expect(flat).toContain("--json FILE Write there.");
  expect(flat).toContain("-h, --help Show this text.");
});

test.each([40, 72, 80, 100, 200])("at %i columns no line is longer, unless it is one word", (width) => {
  for (const line of help(width).split("\n")) {
    if (line.trim().includes(" ")) expect(line.length).toBeLessThanOrEqual(width);
    expect(line).toBe(line.trimEnd());
  }
});

test("wrap keeps every word and breaks at the width", () => {
  expect(wrap("one two three", 7)).toEqual(["one two", "three"]);
  expect(wrap("a-very-long-word b", 5)).toEqual(["a-very-long-word", "b"]);
  expect(wrap("", 5)).toEqual([""]);
});
