import type { DataSource, ModelSource } from "../../src/client/types.ts";
import { NetworkError, NotFoundError, RecipeError } from "../../src/errors.ts";
import { type Method, parseRecipe, type Recipe } from "../../src/recipe/recipe.ts";
import { type SeenRows, seeRows } from "../../src/session/data/view.ts";
import { openTokenizer } from "../../src/session/tokenizer.ts";
import { formatBytes } from "../../src/text/bytes.ts";
import type { Library } from "./library.ts";

const SHOWN = 4;
/** Rows and milliseconds for counting lengths. */
const MOST_ROWS = 50_000;
const MOST_MS = 3000;
/** Largest file from an address: it is held in memory. */
const MOST_BYTES = 500e6;

/** The rows of a phase as its model would see them. Downloads the tokenizer, but no weights. */
export async function seePhase(
  library: Library,
  source: DataSource,
  { model, method, recipe }: { model: ModelSource; method: Method; recipe: Record<string, unknown> },
): Promise<SeenRows> {
  const report = () => {};
  const { folder } = await library.lookAtModel(model, { report });
  const tokenizer = await openTokenizer(folder);
  if (!tokenizer) throw new NotFoundError(`Cannot show rows as ${folder.path} sees them: it has no tokenizer.json`);
  const parsed = parseRecipe(recipe, method).recipe as Partial<Recipe<"sft">> & { max_prompt_length?: number | null };
  const rows = await library.openRows(source, "train", { report });
  return seeRows(rows, {
    method,
    tokenizer,
    max_length: (method === "grpo" ? parsed.max_prompt_length : parsed.max_length) ?? null,
    truncation_mode: parsed.truncation_mode ?? "keep_start",
    completion_only_loss: parsed.completion_only_loss ?? null,
    assistant_only_loss: parsed.assistant_only_loss ?? false,
    system_prompt: parsed.system_prompt ?? null,
    chat_template_kwargs: parsed.chat_template_kwargs ?? {},
    eos_token: parsed.eos_token ?? null,
    ...(parsed.dataset_text_field && { dataset_text_field: parsed.dataset_text_field }),
    ...{ shown: SHOWN, most: MOST_ROWS, time: MOST_MS },
  });
}

/** A file from an address. The hub's pages of files count as the files. */
export async function fetchFile(url: string): Promise<File> {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new RecipeError(`An address of a file begins with https://, not ${JSON.stringify(url)}`);
  }
  const address = new URL(url.replace(/^(https:\/\/huggingface\.co\/.+?)\/blob\//, "$1/resolve/"));
  const name = decodeURIComponent(address.pathname.split("/").at(-1) || "rows.jsonl");
  let response: Response;
  try {
    response = await fetch(address);
  } catch (error) {
    throw new NetworkError(
      `Cannot fetch ${address.href}: the server does not answer, or does not allow this page (CORS). Download the file and choose it here`,
      { cause: error },
    );
  }
  if (!response.ok) throw new NetworkError(`Cannot fetch ${address.href}: the server answers ${response.status}`);
  if (Number(response.headers.get("content-length") ?? 0) > MOST_BYTES) {
    throw new NetworkError(`Cannot fetch ${address.href}: it is larger than ${formatBytes(MOST_BYTES)}`);
  }
  return new File([await response.blob()], name);
}
