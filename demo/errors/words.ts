import { formatFileSize } from "../../src/text/bytes.ts";

/** Titles of errors by their names. */
const TITLES: Record<string, string> = {
  QuotaError: "The storage is full",
  NetworkError: "The network failed",
  MemoryError: "The GPU's memory is too small",
  GpuError: "The GPU failed",
  RecipeError: "The recipe has an error",
  DataError: "A row cannot be used",
  FormatError: "A file cannot be read",
  NotFoundError: "Something is missing",
  UnsupportedError: "This is not supported",
  TrainingError: "The training cannot go on",
  BusyError: "The GPU is in use",
  ShapeError: "The model's parts do not fit together",
};

/** What happened, in a few words; null for an error that has no name. */
export function titleOf(name: string, text: string): string | null {
  if (name === "NotFoundError" && needsSignIn(text)) return "This needs an account on the hub";
  return TITLES[name] ?? null;
}

/** Whether an error may go away with an access token. */
export function needsSignIn(text: string): boolean {
  return /HF_TOKEN|the token has no (write )?access/.test(text);
}

/** The recipe field that an error begins with; null if it is about something else. */
export function fieldOf(name: string, text: string): string | null {
  return name === "RecipeError" ? (/^([a-z][a-z0-9_]*) /.exec(text)?.[1] ?? null) : null;
}

/**
 * An error's text without what only a program needs: paths of the browser's storage, counts of bytes, names of tensors and
 * of environment variables.
 */
export function plainWords(text: string): string {
  return text
    .replace(/opfs:[^\s:,;)"”]*\/([^\s/:,;)"”]+\.[A-Za-z]\w*)/g, "$1 in the browser's storage")
    .replace(/opfs:[^\s:,;)"”]*/g, "the browser's storage")
    .replace(/\b(\d{4,}) bytes\b/g, (_, bytes: string) => formatFileSize(Number(bytes)))
    .replace(
      /\b(?:base_model\.)?(?:model\.)+(?:[a-z_]+\.)*layers\.(\d+)(?:\.\w+)+/g,
      (_, layer) => `a weight of layer ${layer}`,
    )
    .replace(/\b(?:model\.)*embed_tokens\.weight\b/g, "the embedding")
    .replace(/\blm_head\.weight\b/g, "the head")
    .replace(/https?:\/\/[^\s/]+\/api\/\S+ answers \d+ \w+: /g, "")
    .replace(/\(set HF_TOKEN\)/g, "(sign in)")
    .replace(/: set HF_TOKEN\b[^;.]*/g, ": sign in")
    .replace(/set HF_TOKEN\b( to [^;.,]+)?/g, "sign in")
    .replace(/HF_TOKEN/g, "the access token");
}
