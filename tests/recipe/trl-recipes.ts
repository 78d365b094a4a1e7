import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { Method } from "../../src/recipe/recipe.ts";

const HERE = join(import.meta.dirname, "trl");
const TINY = join(import.meta.dirname, "../../assets/tiny");

/** A recipe in TRL's spelling, by an example of TRL's documentation. It names a model and rows of `writeTrlFolder`. */
interface TrlRecipe {
  name: string;
  method: Method;
  file: string;
}

/** The recipes of tests/recipe/trl; their first line names the command or what the example is of. */
export const TRL_RECIPES: TrlRecipe[] = readdirSync(HERE)
  .filter((file) => file.endsWith(".yaml"))
  .sort()
  .map((file) => {
    const name = basename(file, ".yaml");
    const method = name.startsWith("sft") ? "sft" : name.startsWith("dpo") ? "dpo" : "grpo";
    return { name, method, file: join(HERE, file) };
  });

interface Problem {
  prompt: { role: string; content: string }[];
  completion: { role: string; content: string }[];
  answer: string;
}

/** A folder with the model and rows that the recipes name: the embedded model, and its problems in TRL's forms. */
export function writeTrlFolder(): string {
  const root = mkdtempSync(join(tmpdir(), "trl-recipes-"));
  cpSync(TINY, join(root, "model"), { recursive: true });
  rmSync(join(root, "model/problems"), { recursive: true });
  rmSync(join(root, "model/preferences"), { recursive: true });
  const forms: Record<string, (problem: Problem) => object> = {
    chat: ({ prompt, completion }) => ({ messages: [...prompt, ...completion] }),
    more: ({ prompt, completion }) => ({ messages: [...completion, ...prompt, ...completion], source: "more" }),
    completion: ({ prompt, completion }) => ({ prompt: prompt[0].content, completion: ` ${completion[0].content}` }),
    text: ({ prompt, completion }) => ({ text: `${prompt[0].content}\n${completion[0].content}` }),
    maths: ({ prompt, answer }) => ({ prompt, solution: answer.replace(/^.*#### /s, "") }),
  };
  for (const split of ["train", "test"]) {
    const lines = readFileSync(join(TINY, `problems/${split}.jsonl`), "utf8")
      .trim()
      .split("\n")
      .slice(0, 40);
    const problems = lines.map((line) => JSON.parse(line) as Problem);
    const write = (form: string, rows: readonly unknown[]) => {
      mkdirSync(join(root, "rows", form), { recursive: true });
      const text = rows.map((row) => `${typeof row === "string" ? row : JSON.stringify(row)}\n`).join("");
      writeFileSync(join(root, "rows", form, `${split}.jsonl`), text);
    };
    for (const [form, of] of Object.entries(forms)) write(form, problems.map(of));
    const pairs = readFileSync(join(TINY, `preferences/${split}.jsonl`), "utf8")
      .trim()
      .split("\n")
      .slice(0, 40);
    write("preferences", pairs);
  }
  return root;
}
