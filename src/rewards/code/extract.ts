const LABELLED = /```(?:python3?|py)[^\S\n]*\r?\n(.*?)```/gis;
/** Matches every block, so that the end of one is not mistaken for the beginning of the next. */
const BLOCK = /```([^\n`]*)\n(.*?)```/gs;

/**
 * The program in a completion: its last fenced block marked as Python, else its last block without a mark.
 *
 * @returns null if there is no closed block
 */
export function extractCode(text: string): string | null {
  const labelled = [...text.matchAll(LABELLED)].at(-1);
  if (labelled) return labelled[1];
  const bare = [...text.matchAll(BLOCK)].filter(([, mark]) => mark.trim() === "").at(-1);
  return bare?.[2] ?? null;
}
