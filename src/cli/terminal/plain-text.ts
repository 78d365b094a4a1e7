/**
 * Text of a model as a terminal may see it: without control characters but newline and tab. Escape sequences could move
 * the cursor, rename the window or write to the clipboard, and nobody vouches for what a model writes.
 */
export function plainText(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "");
}
