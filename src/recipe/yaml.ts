import { isMap, isScalar, LineCounter, parseDocument, stringify } from "yaml";
import { RecipeError } from "../errors.ts";
import {
  canonical,
  complete,
  fieldsOf,
  groups,
  type Method,
  type ParsedRecipe,
  type Recipe,
  sameValue,
} from "./recipe.ts";

/**
 * Reads a recipe from YAML, with flags over it: a flag wins over the file, also where one uses an old name.
 *
 * @param fileName what to call the text in errors, which begin `recipe.yaml:7: `
 * @param overrides names and values that win over the text
 * @throws {RecipeError} also on YAML that cannot be parsed or holds a key twice
 */
export function parseRecipeYaml<M extends Method>(
  text: string,
  fileName: string,
  method: M,
  overrides: unknown = {},
): ParsedRecipe<M> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const problem = document.errors[0];
  if (problem) {
    const { line, col } = lines.linePos(problem.pos[0]);
    throw new RecipeError(`Cannot read ${fileName}:${line}:${col} as YAML: ${problem.message}`);
  }
  const lineOf = new Map<string, number>();
  if (isMap(document.contents)) {
    for (const { key } of document.contents.items) {
      if (isScalar(key) && key.range) lineOf.set(String(key.value), lines.linePos(key.range[0]).line);
    }
  }
  const where = (key: string | null): string => {
    const line = key === null ? undefined : lineOf.get(key);
    return line === undefined ? `${fileName}: ` : `${fileName}:${line}: `;
  };
  let content: unknown;
  try {
    content = document.toJS({ maxAliasCount: 100 }) ?? {};
  } catch (error) {
    throw new RecipeError(`Cannot read ${fileName} as YAML: ${(error as Error).message}`);
  }
  const notes: string[] = [];
  const fromFile = canonical(content, method, notes, where);
  return { recipe: complete({ ...fromFile, ...canonical(overrides, method, notes) }, method, notes), notes };
}

/** Writes the values that differ from the defaults, or from TRL's, grouped as help is; `full` writes all. */
export function formatRecipeYaml<M extends Method>(recipe: Recipe<M>, method: M, full = false): string {
  const blocks: string[] = [];
  for (const group of groups) {
    const values: Record<string, unknown> = {};
    for (const field of fieldsOf(method)) {
      if (field.group !== group) continue;
      const value = (recipe as Record<string, unknown>)[field.name];
      // where our default is not TRL's, silence would mean something else there
      const silent = sameValue(value, field.default) && field.trlDefault === undefined;
      if (full || !silent) values[field.name] = value;
    }
    if (Object.keys(values).length > 0) blocks.push(`# ${group}\n${stringify(values, { lineWidth: 0 })}`);
  }
  return blocks.join("\n");
}
