/**
 * A model's text for a terminal, without control characters except newline and tab. Escape sequences from a model could move
 * the cursor, rename the window or write to the clipboard.
 */
export function plainText(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the function removes them
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "");
}
