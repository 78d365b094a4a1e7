import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import ts from "typescript";
import { describe, expect, test, vi } from "vitest";
import { HELP } from "../../bench/args.ts";
import { exportedNames } from "../../scripts/exports-tables.ts";
import { parseArgs } from "../../src/cli/args.ts";
import { COMMANDS, main } from "../../src/cli/main.ts";
import { readRows } from "../../src/data/dataset.ts";
import { takeImages } from "../../src/data/images/rows.ts";
import { parsePreference } from "../../src/data/preferences.ts";
import { parsePrompt, parseRow } from "../../src/data/rows.ts";
import { DATA_SETS } from "../../src/data/sets/registry.ts";
import { memorySource } from "../../src/io/memory-folder.ts";
import { methods, namesOf, parseRecipe } from "../../src/recipe/recipe.ts";
import { parseRecipeYaml } from "../../src/recipe/yaml.ts";
import { REWARDS } from "../../src/rewards/registry.ts";
import { type Block, blocksOf, commandsOf, pages, proseOf, root, textOf } from "./blocks.ts";
import { follow, missing, runsIn } from "./run.ts";
import { typeFaults } from "./types.ts";

const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: Record<string, string> };
const inClone = (path: string) => existsSync(join(root, path));

/** Commands of other programs in these documents: they cannot be checked here. */
const OTHERS = ["cd", "git", "pip", "ollama", "trl", "vllm"];

/** The error of a command, or null. Runs only the command line's own parser. */
async function faultOf(words: readonly string[], page: string): Promise<string | null> {
  const [name, ...rest] = words;
  if (name === "qwench") return qwenchFault(rest, page);
  if (name === "npx" && rest[0] === "qwench") return qwenchFault(rest.slice(1), page);
  if (name === "npx" && rest[0] === "tsx") return inClone(rest[1]) ? null : `there is no ${rest[1]}`;
  if (name === "npx" && ["vitest", "biome", "tsc"].includes(rest[0])) return missingPaths(rest);
  if (name === "npm") {
    const script = rest[0] === "run" ? rest[1] : rest[0];
    if (["ci", "install"].includes(script) || script in scripts) return missingPaths(rest);
    return `package.json has no script ${script}`;
  }
  if (name === "deno" && rest[0] === "run") {
    const file = rest.findIndex((word) => word.endsWith(".ts"));
    if (!inClone(rest[file])) return `there is no ${rest[file]}`;
    return rest[file] === "src/cli/bin.ts" ? qwenchFault(rest.slice(file + 1), page) : null;
  }
  if (name === "deno" && rest[0] === "jupyter") return null;
  if (name === "python") return inClone(rest[0]) ? null : `there is no ${rest[0]}`;
  return OTHERS.includes(name) ? null : `no test knows the command ${name}`;
}

const missingPaths = (words: readonly string[]) => {
  const path = words.find((word) => /^(src|tests|scripts|docs|bench|examples)\//.test(word) && !inClone(word));
  return path === undefined ? null : `there is no ${path}`;
};

/** The recipes that a page's `qwench data make` commands write. */
function madeRecipes(page: string): string[] {
  const commands = blocksOf(page).flatMap(({ language, text }) => (language === "sh" ? commandsOf(text) : []));
  return commands
    .filter(({ words }) => words[0] === "qwench" && words[1] === "data" && words[2] === "make")
    .map(({ words }) => `${words.includes("--output") ? words[words.indexOf("--output") + 1] : "data"}/recipe.yaml`);
}

/** Parses a command line and the values of recipe fields, as the command does at its start; runs nothing. */
async function qwenchFault(argv: readonly string[], page: string): Promise<string | null> {
  const lines: string[] = [];
  const spies = [
    vi.spyOn(console, "error").mockImplementation((line) => void lines.push(String(line))),
    vi.spyOn(process.stdout, "write").mockImplementation(() => true),
  ];
  try {
    // a recipe of the page itself: `plan` reads the method from it
    const named = argv.map((word) => (/\.ya?ml$/.test(word) && argv[0] === "plan" ? "recipes/coder-deep.yaml" : word));
    if ((await main([...named, "--help"])) !== 0) return lines.join(" ");
    const { method, flags } = COMMANDS[argv[0]];
    if (method !== undefined && method !== "any") {
      const { overrides, positional } = parseArgs(argv.slice(1), { method, flags });
      parseRecipe(overrides, method);
      const file = positional.find((word) => /\.ya?ml$/.test(word));
      const shown = blocksOf(page).some((block) => block.file === file);
      if (file !== undefined && !inClone(file) && !shown && !madeRecipes(page).includes(file)) {
        return `the page shows no ${file}`;
      }
    }
    return null;
  } catch (error) {
    return (error as Error).message;
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

/** The errors of a block, by its language. An unknown language is an error: every block is run or checked. */
async function blockFaults(block: Block): Promise<string[]> {
  const { language, marks, text, page } = block;
  switch (language) {
    case "sh": {
      const commands = commandsOf(text);
      const faults = await Promise.all(
        commands.map(async ({ words, line }) => [line, await faultOf(words, page)] as const),
      );
      return faults.flatMap(([line, fault]) => (fault === null ? [] : [`${line}: ${fault}`]));
    }
    case "ts":
    case "html":
      return []; // all together, below
    case "js":
      return (ts.transpileModule(text, { reportDiagnostics: true }).diagnostics ?? []).map(({ messageText }) =>
        ts.flattenDiagnosticMessageText(messageText, "\n"),
      );
    case "yaml":
      return parseRecipeYaml(text, page, /^reward_funcs:/m.test(text) ? "grpo" : /^beta:/m.test(text) ? "dpo" : "sft")
        .notes;
    case "jsonl":
      return rowFaults(text);
    case "mermaid":
      return absent(text);
    case "text": {
      if (marks.includes("output")) return [];
      if (marks.includes("tree")) return absent(text);
      if (marks.includes("policy")) return policyFault(text);
      return block.file === null ? ["a text must be output, a tree, a policy or a file"] : [];
    }
    default:
      return [`no test runs or checks a block of ${language || "no language"}`];
  }
}

/** Reads rows as training does: for SFT, as preferences, or as prompts if they have no completion. */
async function rowFaults(text: string): Promise<string[]> {
  const faults: string[] = [];
  for await (const row of readRows(memorySource("rows.jsonl", new TextEncoder().encode(text)))) {
    try {
      if ("chosen" in row.row) parsePreference(row);
      else if ("answer" in row.row && !("completion" in row.row)) parsePrompt(row);
      else {
        const taken = takeImages(row);
        parseRow(taken ? { ...row, row: taken.row, images: [] } : row);
      }
    } catch (error) {
      faults.push((error as Error).message);
    }
  }
  return faults;
}

/** The directives of a content security policy, as in the built page. */
function policyFault(text: string): string[] {
  const built = readFileSync(join(root, "vite.demo.config.ts"), "utf8");
  return text.split("; ").filter((directive) => !built.includes(directive.trim()));
}

/** Repository paths in a text that do not exist. */
function absent(text: string): string[] {
  const paths = text.matchAll(
    /(?<![\w./@:-])(?:src|shaders|workers|demo|docs|examples|recipes|scripts|bench|tests|assets)\/[\w./-]*/g,
  );
  return [...paths]
    .map(([path]) => path.replace(/[./]+$/, ""))
    .filter((path) => !inClone(path))
    .map((path) => `there is no ${path}`);
}

/** Flags of commands, recipes, the bench and the scripts, and the flags of Chromium and Deno in these pages. */
const FLAGS = new Set([
  ...methods.flatMap((method) => namesOf(method)),
  ...Object.values(COMMANDS).flatMap(({ flags = [] }) => flags.map(({ name }) => name)),
  ...["config", "help", "field"],
  ...(HELP.match(/(?<=--)[a-z]+/g) ?? []),
  ...["docs", "check", "mode"],
  ...["headless", "no_sandbox", "enable_unsafe_webgpu", "use_webgpu_adapter"],
  ...["allow_env", "allow_read", "allow_sys", "allow_ffi", "install"],
]);
const isFlag = (flag: string) => {
  const name = flag.slice(2).replaceAll("-", "_");
  return FLAGS.has(name) || (name.startsWith("no_") && FLAGS.has(name.slice(3)));
};

describe.each(pages)("%s", (page) => {
  const blocks = blocksOf(page);
  const prose = proseOf(textOf(page));

  test("every block is run or checked", async () => {
    const faults: string[] = [];
    for (const block of blocks) {
      const found = await blockFaults(block);
      faults.push(...found.map((fault) => `${page}:${block.line}: ${fault}`));
    }
    expect(faults).toEqual([]);
  });

  test("links resolve, including those to headings", () => {
    const links = [...prose.matchAll(/\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"/g)].map(
      (match) => match[1] ?? match[2],
    );
    const faults = links
      .filter((link) => !/^(https?:|mailto:)/.test(link))
      .filter((link) => {
        const [path, heading] = link.split("#");
        const target = path === "" ? page : normalize(join(dirname(page), path));
        if (!inClone(target)) return true;
        return heading !== undefined && !headingsOf(textOf(target)).includes(heading);
      });
    expect(faults).toEqual([]);
  });

  test("commands, flags and files in sentences exist", async () => {
    const faults = absent(prose);
    for (const [, code] of prose.matchAll(/`([^`\n]+)`/g)) {
      const [command] = commandsOf(code);
      const first = command?.words[0];
      if (first === undefined) continue;
      for (const flag of code.match(/(?<![\w-])--[a-z][\w-]*/g) ?? [])
        if (!isFlag(flag)) faults.push(`${flag} is no flag`);
      // a pattern, not a command line
      if (/[A-Z]{3}|…|\[|<|=/.test(code) || command.words.length < (first === "npx" ? 3 : 2)) continue;
      if (!["qwench", "npm", "npx"].includes(first)) continue;
      const fault = await faultOf(command.words, page);
      if (fault !== null && !/shows no/.test(fault)) faults.push(`${code}: ${fault}`);
    }
    expect(faults).toEqual([]);
  });

  if (blocks.some((block) => runsIn(block, false))) {
    test("its marked blocks run", async () => expect(await follow(page, false)).toEqual([]), 900_000);
  }
});

const slug = (heading: string) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, "")
    .trim()
    .replaceAll(" ", "-");
const headingsOf = (text: string) => [...proseOf(text).matchAll(/^#+ (.+)$/gm)].map(([, heading]) => slug(heading));

test("every TypeScript block of the pages type-checks against the package's entries", () => {
  const programs = pages.flatMap((page) => {
    const blocks = blocksOf(page);
    const of = (marked: boolean) => blocks.filter((b) => b.language === "ts" && b.marks.includes("run") === marked);
    const joined = of(true);
    const scriptsOfPages = blocks
      .filter(({ language }) => language === "html")
      .flatMap(({ text, line }) =>
        [...text.matchAll(/<script type="module">([\s\S]*?)<\/script>/g)].map(([, code]) => [`${page}:${line}`, code]),
      );
    return [
      ...(joined.length > 0 ? [[`${page}:run`, joined.map(({ text }) => text).join("\n")]] : []),
      ...of(false).map(({ text, line }) => [`${page}:${line}`, text]),
      ...scriptsOfPages,
    ] as [string, string][];
  });
  expect(programs.length).toBeGreaterThan(3);
  expect(typeFaults(programs)).toEqual([]);
});

test("the README has at most 200 lines; pictures of the page have at most 150 KB each and 3 MB together", () => {
  expect(textOf("README.md").trimEnd().split("\n").length).toBeLessThanOrEqual(200);
  const folder = join(root, "demo/screenshots");
  const sizes = readdirSync(folder).map((name) => ({ name, size: statSync(join(folder, name)).size }));
  expect(sizes.map(({ name }) => name)).toContain("run-desktop-light.webp");
  for (const { name, size } of sizes) expect(size, name).toBeLessThan(150_000);
  expect(sizes.reduce((sum, { size }) => sum + size, 0)).toBeLessThan(3_000_000);
});

test("every table lists all its names", () => {
  for (const name of Object.keys(REWARDS)) expect(textOf("docs/rewards.md")).toContain(`\`${name}\``);
  for (const name of Object.keys(DATA_SETS)) expect(textOf("docs/data.md")).toContain(`| \`${name}\` |`);
});

test("every environment variable that the product reads is documented", () => {
  const told = textOf("docs/options.md");
  const read = ["src/cli/sources/hub.ts", "src/platform/adapter.ts", "src/gpu/subgroup-matrix.ts", "src/rewards/judge/endpoint.ts"]; // biome-ignore format: a line
  const names = read.flatMap((path) => readFileSync(join(root, path), "utf8").match(/\b(?:QWENCH|HF|HUGGING)_[A-Z_]+\b/g) ?? []); // biome-ignore format: a line
  expect(names.length).toBeGreaterThan(5);
  for (const name of names) expect(told, name).toContain(`\`${name}\``);
});

test("every exported function, class and constant is used in a program that runs or is checked", () => {
  const code = [
    ...pages.flatMap((page) => blocksOf(page)).filter(({ language }) => language === "ts").map(({ text }) => text), // biome-ignore format: a line
  ].join("\n");
  for (const [entry, exported] of Object.entries(exportedNames())) {
    const unused = exported.filter(({ name, kind }) => kind !== "type" && !new RegExp(`\\b${name}\\b`).test(code));
    expect(
      unused.map(({ name }) => name),
      entry,
    ).toEqual([]);
  }
});

describe("these tests detect", () => {
  const block = (language: string, text: string, ...marks: string[]): Block => ({
    page: "docs/start.md",
    line: 1,
    language,
    marks,
    file: null,
    text,
  });

  test.each([
    ["an unknown flag", block("sh", "qwench sft --lora_rank 8"), /did you mean --lora_r/],
    ["a value out of bounds", block("sh", "qwench sft --lora_r 0"), /lora_r must be/],
    ["a recipe that is not shown", block("sh", "qwench sft other.yaml"), /shows no other.yaml/],
    ["an unknown command", block("sh", "qwench trian"), /no command trian/],
    ["an unknown script", block("sh", "npm run biuld"), /no script biuld/],
    ["a program that is not there", block("sh", "npx tsx examples/none.ts"), /no examples\/none.ts/],
    ["a program that nobody knows", block("sh", "sudo reboot"), /no test knows/],
    ["a language that nobody checks", block("python", "pass"), /no test runs or checks/],
    ["a text that is nothing", block("text", "pass"), /must be output/],
    ["a path that is not there", block("mermaid", 'A["src/nowhere.ts"]'), /no src\/nowhere.ts/],
    ["a row that is none", block("jsonl", '{"x": 1}'), /has the keys x/],
    ["an old name in a recipe", block("yaml", "max_seq_length: 8"), /max_length/],
  ])("%s", async (_, wrong, message) => {
    expect((await blockFaults(wrong)).join("\n")).toMatch(message);
  });

  test("a wrong type, and a missing export", () => {
    const faults = typeFaults([
      ["a", 'import { parseRecipe } from "qwench"; parseRecipe({}, "dqo");'],
      ["b", 'import { none } from "qwench";'],
    ]);
    expect(faults).toEqual([expect.stringMatching(/^a:1: .*"dqo"/), expect.stringMatching(/^b:1: .*none/)]);
  });

  test("commands, apart from what they are piped to", () => {
    const text = `HF_TOKEN=x qwench push --repo "me/my a" > out.txt  # a note\nnpm ci && npm test | cat\n`;
    expect(commandsOf(text).map(({ words }) => words)).toEqual([
      ["qwench", "push", "--repo", "me/my a"],
      ["npm", "ci"],
      ["npm", "test"],
      ["cat"],
    ]);
  });

  test("output that was not printed, ignoring its numbers", () => {
    expect(missing("ok: 4 of 64\nand  more", "ok: 12 of 64\nand more")).toEqual([]);
    expect(missing("ok: 4 of 64", "failed: 4 of 64")).toEqual(["ok: 4 of 64"]);
  });
});
