import { renderChat } from "../data/chat-template.ts";
import { loadTokenizer, type Tokenizer } from "../data/tokenizer.ts";
import { FormatError } from "../errors.ts";
import type { Folder } from "../io/storage.ts";
import { tokenizerFolder } from "../model/files/write-merged.ts";

/**
 * The tokenizer of a checkpoint folder, or null if the folder has no tokenizer. Rows of input_ids need none.
 *
 * @param adapter an adapter of that checkpoint; a tokenizer and chat template saved with the adapter take precedence
 */
export async function openTokenizer(folder: Folder, adapter: Folder | null = null): Promise<Tokenizer | null> {
  const files = await tokenizerFolder(folder, adapter);
  if (!(await files.exists("tokenizer.json"))) return null;
  const optional = async (from: Folder, name: string) =>
    (await from.exists(name)) ? await from.readText(name) : undefined;
  const template = adapter && (await optional(adapter, "chat_template.jinja"));
  return loadTokenizer({
    tokenizerJson: await files.readText("tokenizer.json"),
    tokenizerConfig: await optional(files, "tokenizer_config.json"),
    chatTemplate: template ?? (await optional(files, "chat_template.jinja")),
    generationConfig: await optional(folder, "generation_config.json"),
    config: await optional(folder, "config.json"),
  });
}

/**
 * Ids that end a completion: from the tokenizer, generation_config.json, and the end of an assistant turn in the template.
 *
 * @throws {FormatError} if there is none, or one is outside the model's vocabulary
 */
export function eosIds(
  tokenizer: Tokenizer,
  chat_template: string | null,
  vocab_size: number,
  where: string,
): number[] {
  const turn = chat_template === null ? [] : turnEnd(tokenizer, chat_template);
  const ids = [...new Set([...tokenizer.stop_token_ids, ...turn])];
  if (ids.length === 0) {
    throw new FormatError(
      `Cannot end completions: neither the tokenizer nor generation_config.json of ${where} names an EOS token`,
    );
  }
  const outside = ids.find((id) => id >= vocab_size);
  if (outside !== undefined) {
    throw new FormatError(
      `Cannot end completions at eos_token_id ${outside} of ${where}: it is outside the vocabulary of ${vocab_size}`,
    );
  }
  return ids;
}

/**
 * The special token with which a chat template ends an assistant turn. Base models often name another token as EOS, so after
 * chat training they would continue into the user's next turn.
 */
function turnEnd(tokenizer: Tokenizer, template: string): number[] {
  const written = "x0x";
  const { bos_token, eos_token } = tokenizer;
  const turns = ["user", "assistant"].map((role) => ({ role, content: written }));
  let text: string;
  try {
    text = renderChat(template, turns, { bos_token, eos_token });
  } catch {
    return []; // the template may still render the actual rows; if not, rendering them reports the error
  }
  const [first] = tokenizer.encode(text.slice(text.lastIndexOf(written) + written.length));
  return first !== undefined && tokenizer.decode([first], { skip_special_tokens: true }) === "" ? [first] : [];
}
