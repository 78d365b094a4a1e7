import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));

/** A fenced block of a document. Its info string tells the test what to do: ```sh run, ```jsonl file=rows.jsonl. */
export interface Block {
  page: string;
  /** line of the opening fence, from 1 */
  line: number;
  language: string;
  /** words after the language: run, slow, output, tree */
  marks: readonly string[];
  /** file name of the block in the folder of the commands */
  file: string | null;
  text: string;
}

/** All documents, by their path from the root. */
export const pages: readonly string[] = [
  "README.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  "assets/tiny/README.md",
  ...readdirSync(`${root}/docs`)
    .filter((name) => name.endsWith(".md"))
    .sort()
    .map((name) => `docs/${name}`),
];

export const textOf = (page: string) => readFileSync(`${root}/${page}`, "utf8");

export function blocksOf(page: string, text: string = textOf(page)): Block[] {
  const blocks: Block[] = [];
  const lines = text.split("\n");
  for (let i = 0; i < lines.length; i++) {
    const open = /^(\s*)```(.*)$/.exec(lines[i]);
    if (!open) continue;
    const [language = "", ...marks] = open[2].trim().split(/\s+/);
    const from = i + 1;
    while (++i < lines.length && lines[i].trim() !== "```");
    if (i === lines.length) throw new Error(`${page}:${from}: the block does not end`);
    blocks.push({
      page,
      line: from,
      language,
      marks: marks.filter((mark) => !mark.startsWith("file=")),
      file: marks.find((mark) => mark.startsWith("file="))?.slice("file=".length) ?? null,
      text: lines.slice(from, i).map((line) => line.slice(open[1].length)).join("\n"), // biome-ignore format: a line
    });
  }
  return blocks;
}

/** A document without its blocks. */
export const proseOf = (text: string) => text.replace(/^\s*```[\s\S]*?^\s*```$/gm, "");

/** A shell command: its words, without preceding assignments, comments, pipes and redirections. */
export interface Command {
  words: string[];
  line: string;
}

/** The commands of a shell block. Quotes are removed; `|`, `&&` and `;` separate commands, `>` ends a command. */
export function commandsOf(text: string): Command[] {
  const commands: Command[] = [];
  for (const line of text.replaceAll(/\\\n\s*/g, " ").split("\n")) {
    let words: string[] = [];
    let redirected = false;
    const end = () => {
      while (/^[A-Z_]+=/.test(words[0] ?? "")) words.shift();
      if (words.length > 0) commands.push({ words, line: line.trim() });
      words = [];
      redirected = false;
    };
    for (const [, quoted, single, operator, comment, plain] of line.matchAll(
      /"((?:[^"\\]|\\.)*)"|'([^']*)'|(\|\||&&|[|;]|>>?|<)|((?:^|(?<=\s))#.*$)|((?:[^\s"'|;&<>]|=")+)/g,
    )) {
      if (comment !== undefined) break;
      if (operator === ">" || operator === ">>" || operator === "<") redirected = true;
      else if (operator !== undefined) end();
      else if (!redirected) words.push(quoted ?? single ?? plain);
    }
    end();
  }
  return commands;
}
