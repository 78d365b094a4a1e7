/** Qwen2's pre-tokenizer: words with a preceding symbol, single digits, runs of symbols, line feeds, spaces. */
export const QWEN2_PATTERN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
// JavaScript before 2025 has no inline flags, so the contractions are written out.
const PATTERN =
  /'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+/gu;

/** GPT-2's printable characters for bytes in byte-level BPE, in the order of its vocabulary. */
function byteAlphabet(): string[] {
  const spelt = new Map<number, string>();
  for (const [first, last] of [
    [0x21, 0x7e],
    [0xa1, 0xac],
    [0xae, 0xff],
  ]) {
    for (let byte = first; byte <= last; byte++) spelt.set(byte, String.fromCharCode(byte));
  }
  let next = 256;
  for (let byte = 0; byte < 256; byte++) if (!spelt.has(byte)) spelt.set(byte, String.fromCharCode(next++));
  return Array.from({ length: 256 }, (_, byte) => spelt.get(byte)!);
}

/**
 * Trains byte-level BPE merges: the most frequent pair of neighbours is merged first; among equally frequent pairs, the one
 * that sorts first.
 *
 * @param texts training texts
 * @param size vocabulary size including the 256 bytes; smaller if no remaining pair occurs at least `least` times
 * @see Sennrich, Haddow and Birch 2016, arXiv:1508.07909
 */
export function trainBpe(texts: Iterable<string>, size: number, least: number): { vocab: string[]; merges: string[] } {
  const alphabet = byteAlphabet();
  const utf8 = new TextEncoder();
  const counts = new Map<string, number>();
  for (const text of texts)
    for (const [piece] of text.matchAll(PATTERN)) counts.set(piece, (counts.get(piece) ?? 0) + 1);
  const words = [...counts].map(([piece, count]) => ({
    parts: [...utf8.encode(piece)].map((b) => alphabet[b]),
    count,
  }));
  const sorted = [...alphabet].sort();
  const vocab = [...sorted];
  const merges: string[] = [];
  while (vocab.length < size) {
    const pairs = new Map<string, number>();
    for (const { parts, count } of words) {
      for (let i = 1; i < parts.length; i++) {
        const pair = `${parts[i - 1]} ${parts[i]}`;
        pairs.set(pair, (pairs.get(pair) ?? 0) + count);
      }
    }
    let [best, most] = ["", least - 1];
    for (const [pair, count] of pairs)
      if (count > most || (count === most && best !== "" && pair < best)) [best, most] = [pair, count];
    if (best === "") break;
    const [a, b] = best.split(" ");
    merges.push(best);
    vocab.push(a + b);
    for (const { parts } of words) {
      for (let i = 1; i < parts.length; i++) {
        if (parts[i - 1] === a && parts[i] === b) parts.splice(i - 1, 2, a + b);
      }
    }
  }
  return { vocab, merges };
}
