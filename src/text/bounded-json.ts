/**
 * Limits for untrusted JSON. Without limits, `JSON.parse` builds any number of values, and code that walks deep nesting
 * recurses.
 */
interface JsonLimits {
  /** number of values; a tokenizer with 250 000 tokens and as many merges has a million */
  values?: number;
  /** levels of lists and objects */
  depth?: number;
}

/**
 * `JSON.parse` for untrusted text. Checks the limits before building any value.
 *
 * @throws {SyntaxError} the text is not JSON, or has more values or deeper nesting than the limits
 */
export function parseBoundedJson(text: string, { values = 3_000_000, depth = 200 }: JsonLimits = {}): unknown {
  let [seen, level] = [0, 0];
  for (let at = 0; at < text.length; at++) {
    const c = text.charCodeAt(at);
    if (c === 0x22) {
      // a string: skip to the next unescaped quote
      for (at++; at < text.length && text.charCodeAt(at) !== 0x22; at++) if (text.charCodeAt(at) === 0x5c) at++;
    } else if (c === 0x2c) seen++;
    else if (c === 0x5b || c === 0x7b) {
      seen++;
      if (++level > depth) throw new SyntaxError(`it is nested deeper than ${depth}, at position ${at}`);
    } else if (c === 0x5d || c === 0x7d) level--;
    if (seen > values) throw new SyntaxError(`it holds more than ${values} values`);
  }
  return JSON.parse(text);
}
