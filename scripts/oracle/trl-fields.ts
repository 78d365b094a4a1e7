// Writes tests/recipe/trl-fields.json: the names of the fields of TRL's and transformers' configuration classes.
//
//   npm run trl-fields -- PYTHON
//
// PYTHON has transformers and TRL of the version to be matched. A name that is new then fails tests/recipe/trl-fields.test.ts
// until it is a field, or accepted with a note, or refused with the reason.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

const [python] = process.argv.slice(2);
if (!python) {
  console.error("usage: npm run trl-fields -- PYTHON");
  process.exit(2);
}
const found = JSON.parse(execFileSync(python, [at("trl_fields.py")], { encoding: "utf8" }));
writeFileSync(at("../../tests/recipe/trl-fields.json"), `${JSON.stringify(found, null, 2)}\n`);
const { trl, transformers } = found.versions;
console.log(`Wrote tests/recipe/trl-fields.json: TRL ${trl}, transformers ${transformers}`);
