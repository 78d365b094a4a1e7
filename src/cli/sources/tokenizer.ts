import type { Tokenizer } from "../../data/tokenizer.ts";
import { RecipeError } from "../../errors.ts";
import { nodeFolder } from "../../platform/node/fs.ts";
import { openTokenizer } from "../../session/tokenizer.ts";
import { embeddedModelFolder } from "./embedded-folder.ts";
import { hubOptions } from "./hub.ts";
import { openModelFolder } from "./sources.ts";
import type { ModelRequest } from "./text-model.ts";

/**
 * The tokenizer of a model and the number of its positions, without its weights where it is on this machine; of the embedded
 * model where none is named.
 */
export async function tokenizerOf(
  { model, revision }: Pick<ModelRequest, "model" | "revision">,
  signal: AbortSignal,
): Promise<{ tokenizer: Tokenizer; positions: number }> {
  const quiet = hubOptions(signal, () => {});
  const folder = model ? await openModelFolder(model, revision, quiet) : nodeFolder(embeddedModelFolder());
  const tokenizer = await openTokenizer(folder);
  if (!tokenizer) throw new RecipeError(`Cannot count tokens with ${folder.path}: it has no tokenizer.json`);
  const config = (await folder.exists("config.json")) ? JSON.parse(await folder.readText("config.json")) : {};
  const positions = Number(config.max_position_embeddings ?? config.text_config?.max_position_embeddings);
  return { tokenizer, positions: positions > 0 ? positions : Number.MAX_SAFE_INTEGER };
}
