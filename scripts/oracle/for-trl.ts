// Has TRL's own parsers read what `qwench recipe NAME --for trl` writes: of every published recipe, of the recipes of
// tests/recipe/trl (these also as they are), and of recipes with one choice or switch of each field.
//
//   npx tsx scripts/oracle/for-trl.ts PYTHON
//
// PYTHON has TRL. Prints one line for each recipe; exits with 1 if one is refused.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { publishedText } from "../../src/cli/sources/published.ts";
import { RECIPES } from "../../src/recipe/published.ts";
import { fieldsOf, type Method, methods, parseRecipe } from "../../src/recipe/recipe.ts";
import { trlConfig } from "../../src/recipe/trl.ts";
import { TRL_RECIPES } from "../../tests/recipe/trl-recipes.ts";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

const [python] = process.argv.slice(2);
if (!python) {
  console.error("usage: npx tsx scripts/oracle/for-trl.ts PYTHON");
  process.exit(2);
}
const folder = mkdtempSync(join(tmpdir(), "for-trl-"));
const write = (name: string, method: Method, text: string) => {
  const file = join(folder, `${name}.yaml`);
  writeFileSync(file, trlConfig(text, { name, method, source: name }));
  return `${method}:${file}`;
};
const published = RECIPES.map((recipe) => write(recipe.name, recipe.method, publishedText(recipe)));
const own = TRL_RECIPES.map(({ method, file }) => `${method}:${file}`);
const again = TRL_RECIPES.map(({ name, method, file }) => write(`again-${name}`, method, readFileSync(file, "utf8")));
const BASE = { model_name_or_path: "m", dataset_name: "d", max_steps: 4 };
const single = methods.flatMap((method) =>
  fieldsOf(method).flatMap((field) => {
    const values = field.choices ?? (field.type === "boolean" ? [!field.default] : []);
    return values.flatMap((value) => {
      const text = JSON.stringify({ ...BASE, [field.name]: value });
      try {
        parseRecipe(JSON.parse(text), method);
      } catch {
        return []; // it needs other fields beside it
      }
      return [write(`${method}-${field.name}-${value}`, method, text)];
    });
  }),
);
const { status } = spawnSync(python, [at("trl_parse.py"), ...published, ...own, ...again, ...single], {
  stdio: "inherit",
});
rmSync(folder, { recursive: true });
process.exit(status ?? 1);
