import { type Document, isMap, isScalar, LineCounter, parseDocument, stringify, visit } from "yaml";
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
 * Reads a recipe from YAML. Flags override the file, even if one of them uses an old name.
 *
 * @param fileName name of the text in errors, which begin with `recipe.yaml:7: `
 * @param overrides names and values that override the text
 * @throws {RecipeError} also for YAML that does not parse or repeats a key
 */
export function parseRecipeYaml<M extends Method>(
  text: string,
  fileName: string,
  method: M,
  overrides: unknown = {},
): ParsedRecipe<M> {
  if (text.length > MOST_CHARACTERS) {
    throw new RecipeError(
      `Cannot read ${fileName} as YAML: a recipe has at most ${MOST_CHARACTERS} characters, got ${text.length}`,
    );
  }
  const lines = new LineCounter();
  const document = parsed(text, fileName, lines);
  const problem = document.errors[0];
  if (problem) {
    const { line, col } = lines.linePos(problem.pos[0]);
    throw new RecipeError(
      `Cannot read ${fileName}:${line}:${col} as YAML: ${/call stack/.test(problem.message) ? "it is nested too deep" : problem.message}`,
    );
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

/** Largest size of a recipe in characters. */
const MOST_CHARACTERS = 1_000_000;

/** Checks keys for duplicates. The YAML library compares all pairs, which takes a minute for 30 000 keys. */
function parsed(text: string, fileName: string, lines: LineCounter): Document {
  try {
    const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: false });
    visit(document, {
      Map(_, map) {
        const seen = new Set<string>();
        for (const { key } of map.items) {
          const name = isScalar(key) ? String(key.value) : null;
          if (name === null) continue;
          const at = isScalar(key) ? (key.range?.[0] ?? 0) : 0;
          if (seen.has(name))
            throw new RecipeError(
              `Cannot read ${fileName}:${placeOf(lines, at)} as YAML: ${show(name)} is there twice, but keys must be unique`,
            );
          seen.add(name);
        }
      },
    });
    return document;
  } catch (error) {
    if (error instanceof RecipeError) throw error;
    const deep = error instanceof RangeError;
    throw new RecipeError(
      `Cannot read ${fileName} as YAML: ${deep ? "it is nested too deep" : (error as Error).message}`,
    );
  }
}

function placeOf(lines: LineCounter, at: number): string {
  const { line, col } = lines.linePos(at);
  return `${line}:${col}`;
}

const show = (name: string): string => JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}…` : name);

/** Writes the values that differ from Qwench's or TRL's defaults, in the groups of --help. `full` writes all values. */
export function formatRecipeYaml<M extends Method>(recipe: Recipe<M>, method: M, full = false): string {
  const blocks: string[] = [];
  for (const group of groups) {
    const values: Record<string, unknown> = {};
    for (const field of fieldsOf(method)) {
      if (field.group !== group) continue;
      const value = (recipe as Record<string, unknown>)[field.name];
      // if Qwench's default differs from TRL's, leaving the field out would change its meaning in TRL
      const silent = sameValue(value, field.default) && field.trlDefault === undefined;
      if (full || !silent) values[field.name] = value;
    }
    if (Object.keys(values).length > 0) blocks.push(`# ${group}\n${stringify(values, { lineWidth: 0 })}`);
  }
  return blocks.join("\n");
}
