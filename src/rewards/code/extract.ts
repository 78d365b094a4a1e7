const LABELLED = /```(?:python3?|py)[^\S\n]*\r?\n(.*?)```/gis;
const BARE = /```[^\S\n]*\r?\n(.*?)```/gs;

/**
 * The program in a completion: its last fenced block marked as Python; where none is, its last one without a mark.
 *
 * @returns null where no such block ends
 */
export function extractCode(text: string): string | null {
  const last = (pattern: RegExp) => [...text.matchAll(pattern)].at(-1)?.[1] ?? null;
  return last(LABELLED) ?? last(BARE);
}
