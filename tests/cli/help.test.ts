import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { parseArgs } from "../../src/cli/args.ts";
import { COMMANDS } from "../../src/cli/main.ts";
import { methodOf } from "../../src/cli/runs/prepare.ts";
import { completionScript } from "../../src/cli/terminal/completions.ts";
import { describeName } from "../../src/cli/terminal/describe.ts";
import { commandHelp, defaultText, shortHelp, wrap } from "../../src/cli/terminal/help.ts";
import { fieldsOf, type Method, methods, parseRecipe } from "../../src/recipe/recipe.ts";
import { commandsOf } from "../docs/blocks.ts";

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

describe.each(Object.keys(COMMANDS))("the short help of %s", (name) => {
  const command = COMMANDS[name];
  const method = command.method === "any" ? "sft" : command.method;

  test("has at most 25 lines, and a line for each flag of its list", () => {
    const lines = shortHelp(name, { ...command, method }, 100)
      .trimEnd()
      .split("\n");
    expect(lines.length).toBeLessThanOrEqual(25);
    for (const flag of command.main ?? []) expect(lines.filter((line) => line.includes(` --${flag}`))).not.toEqual([]);
    for (const line of lines.filter((one) => !one.startsWith("  qwench"))) expect(line.length).toBeLessThanOrEqual(100);
  });

  test("has three examples, which the command line accepts", async () => {
    expect(command.examples).toHaveLength(3);
    for (const example of command.examples) {
      const [program, first, ...argv] = commandsOf(example)[0].words;
      expect(program).toBe("qwench");
      if (first === "help") expect(Object.keys(COMMANDS)).toContain(argv[0]);
      else {
        const { method: own, flags } = COMMANDS[first];
        const of = own === "any" ? await methodOf(argv) : own;
        const { overrides } = parseArgs(argv, { method: of, flags });
        if (of !== undefined) parseRecipe(overrides, of);
      }
    }
  });
});

describe("help about a name", () => {
  const flat = (name: string) => describeName(name, COMMANDS).replace(/\s+/g, " ");

  test("shows a field once for each default, with the commands that take it", () => {
    expect(flat("--learning-rate")).toMatch(/default 2e-5\) Taken by sft, plan .*default 1e-6\) Taken by grpo, plan/);
    expect(flat("packing").match(/Taken by/g)).toHaveLength(1);
  });

  test("shows a command's own flag, an earlier name, and why a name of TRL has no effect or is rejected", () => {
    expect(flat("quantization")).toMatch(/Taken by export/);
    expect(flat("max_seq_length")).toMatch(/^max_seq_length is an earlier name of max_length\. --max_length INT/);
    expect(flat("padding_free")).toMatch(
      /^--padding_free \(sft, grpo, dpo\) Accepted without effect: Qwench never pads/,
    );
    expect(flat("deepspeed")).toMatch(/Rejected: /);
  });

  test("rejects a name that nothing has, with the nearest", () => {
    expect(() => describeName("learning_rat", COMMANDS)).toThrow(
      "There is no command, flag or recipe field learning_rat: did you mean learning_rate?",
    );
  });
});

describe("completions", () => {
  const bash = (line: string[]) => {
    const script = `${completionScript("bash", COMMANDS)}
      COMP_WORDS=(${line.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${line.length - 1}
      _qwench; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return execFileSync("bash", ["-c", script], { encoding: "utf8" }).trim().split("\n");
  };

  test("complete commands, flags, values and names for help in bash", () => {
    expect(bash(["qwench", "g"])).toEqual(["grpo", "generate", "grade"]);
    expect(bash(["qwench", "sft", "--lora_d"])).toEqual(["--lora_dropout"]);
    expect(bash(["qwench", "sft", "--dtype", "b"])).toEqual(["bfloat16"]);
    expect(bash(["qwench", "export", "--format", "merged"])).toEqual(["merged_16bit", "merged_4bit"]);
    expect(bash(["qwench", "data", "--format", "m"])).toEqual(["messages"]); // another command's flag of that name
    expect(bash(["qwench", "completions", ""])).toEqual(["bash", "zsh", "fish"]);
    expect(bash(["qwench", "sft", "rows"])).toEqual([""]); // bash then completes files
  });

  test("name every command and flag in zsh and fish, with quotes escaped", () => {
    const [zsh, fish] = (["zsh", "fish"] as const).map((shell) => completionScript(shell, COMMANDS));
    for (const [name, { flags = [] }] of Object.entries(COMMANDS)) {
      expect(zsh).toContain(`    ${name}) flags="`);
      for (const flag of flags) {
        expect(zsh).toMatch(new RegExp(`^    ${name}\\) flags=".*--${flag.name}\\b`, "m"));
        expect(fish).toContain(`__fish_seen_subcommand_from ${name}' -l ${flag.name} `);
      }
    }
    for (const line of fish.split("\n").filter((one) => one.startsWith("complete"))) {
      expect(line.replace(/\\'/g, "").match(/'/g)!.length % 2).toBe(0);
    }
  });
});
