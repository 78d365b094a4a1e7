import type { Tokenizer } from "../data/tokenizer.ts";
import { RecipeError } from "../errors.ts";
import type { Folder } from "../io/storage.ts";
import { GENERATION_FILE, PROCESSOR_FILES, TOKENIZER_FILES, tokenizerFolder } from "../model/files/write-merged.ts";
import { formatJson, type JsonObject, parseJson } from "../text/json.ts";

/** The tokenizer settings that a run changed. */
interface TrainedText {
  /** replaces the tokenizer's chat template */
  chat_template: string | null;
  /** replaces the tokenizer's EOS token at the end of rows */
  eos_token: string | null;
}

/**
 * The files that complete a saved model or adapter: the tokenizer's and, with full weights, generation_config.json. They record
 * the run's settings as TRL does: a chat template from the recipe becomes chat_template.jinja, and an eos_token from the recipe
 * becomes the tokenizer's EOS and ends generation.
 *
 * @param whole whether the run saves full weights, not an adapter
 * @returns texts by file name
 */
export async function companionsOf(
  { model, adapter, whole }: { model: Folder; adapter: Folder | null; whole: boolean },
  { chat_template, eos_token }: TrainedText,
  tokenizer: Tokenizer | null,
): Promise<Record<string, string>> {
  const texts: Record<string, string> = {};
  const take = async (folder: Folder, names: readonly string[]) => Object.assign(texts, await textsIn(folder, names));
  await take(
    await tokenizerFolder(model, adapter),
    TOKENIZER_FILES.filter((name) => !name.endsWith(".model")), // binary, and unused here
  );
  if (adapter) await take(adapter, ["chat_template.jinja"]);
  if (whole) await take(model, [GENERATION_FILE]);
  if (chat_template !== null && tokenizer) texts["chat_template.jinja"] = chat_template;
  if (eos_token === null || !tokenizer) return texts;
  const id = eosId(tokenizer, eos_token);
  const change = (name: string, fields: JsonObject) => {
    if (name in texts) texts[name] = `${formatJson({ ...(parseJson(texts[name]) as JsonObject), ...fields }, 2)}\n`;
  };
  texts["tokenizer_config.json"] ??= "{}";
  for (const name of ["tokenizer_config.json", "special_tokens_map.json"]) change(name, { eos_token });
  const before = JSON.parse(texts[GENERATION_FILE] ?? "{}").eos_token_id;
  change(GENERATION_FILE, { eos_token_id: [...new Set([id, ...numbers(before)])] });
  return texts;
}

/** The files of a model's image processor, which complete a saved model with a vision tower. */
export function processorFiles(model: Folder): Promise<Record<string, string>> {
  return textsIn(model, PROCESSOR_FILES);
}

/** Texts of those files that exist. */
async function textsIn(folder: Folder, names: readonly string[]): Promise<Record<string, string>> {
  const texts: Record<string, string> = {};
  for (const name of names) if (await folder.exists(name)) texts[name] = await folder.readText(name);
  return texts;
}

/** @throws {RecipeError} the tokenizer does not have the token */
export function eosId(tokenizer: Tokenizer, eos_token: string): number {
  const id = tokenizer.tokenIds(eos_token);
  if (id === null) throw new RecipeError(`eos_token ${JSON.stringify(eos_token)} is not one token of this tokenizer`);
  return id;
}

function numbers(value: unknown): number[] {
  return [value].flat().filter((id): id is number => typeof id === "number");
}
