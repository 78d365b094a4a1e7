/** A seeded generator of numbers in [0, 1). */
export type Draw = () => number;

export function drawOf(seed: number): Draw {
  let state = (seed * 2654435761) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 32;
  };
}

const below = (draw: Draw, n: number): number => Math.floor(draw() * n);
const pick = <T>(draw: Draw, from: readonly T[]): T => from[below(draw, from.length)];

/** Texts that often break parsers. */
const WORDS = [
  "[",
  "]",
  "{",
  "}",
  '"',
  "'",
  "\\",
  ",",
  ":",
  "-",
  "\n",
  "\r\n",
  "\u0000",
  "\ufeff",
  "null",
  "true",
  "NaN",
  "Infinity",
  "1e999",
  "-1",
  "0",
  "9007199254740993",
  "9".repeat(400),
  "1".repeat(5000),
  "[".repeat(300),
  '{"a":'.repeat(300),
  "((((((((((",
  "(a+)+$",
  "\\frac{",
  "^",
  "!",
  "1e",
  "../",
  "__proto__",
  "constructor",
  "\ud800",
  "é",
  "😀",
  " ".repeat(3000),
  "{% for i in range(99999) %}",
  "{{ ",
  " }}",
  "{% endfor %}",
  "namespace(",
  "[ns.l, ns.l]",
  "| tojson",
  "&a ",
  "*a ",
  "<<: ",
  "- ",
  "\t",
  ";",
  "<think>",
  "</think>",
  "<answer>",
  "```python\n",
  "\\boxed{",
  "10^{10^{10}}",
  "2^{99999}",
  "99999!",
  "%",
  "$",
];
const NUMBERS = [0, 1, 2, 127, 128, 254, 255];

/** A text with a few changes: bytes, words, and pieces that are removed, doubled or moved. */
export function mutateText(text: string, draw: Draw): string {
  let made = text;
  for (let left = 1 + below(draw, 4); left > 0; left--) {
    const at = below(draw, made.length + 1);
    const end = Math.min(made.length, at + 1 + below(draw, draw() < 0.2 ? made.length : 24));
    const kind = below(draw, 7);
    if (kind === 0) made = made.slice(0, at) + pick(draw, WORDS) + made.slice(at);
    else if (kind === 1) made = made.slice(0, at) + pick(draw, WORDS) + made.slice(end);
    else if (kind === 2) made = made.slice(0, at) + made.slice(end);
    else if (kind === 3) made = made.slice(0, end) + made.slice(at, end).repeat(1 + below(draw, 20)) + made.slice(end);
    else if (kind === 4)
      made = made.slice(0, at) + String.fromCharCode(below(draw, draw() < 0.9 ? 128 : 65536)) + made.slice(at + 1);
    else if (kind === 5) made = made.slice(0, at);
    else made = made.replace(/-?\d+(?:\.\d+)?/g, (number) => (draw() < 0.05 ? pick(draw, WORDS) : number));
    if (made.length > 1_000_000) made = made.slice(0, 1_000_000);
  }
  return made;
}

/** Bytes with a few changes. */
export function mutateBytes(bytes: Uint8Array, draw: Draw): Uint8Array {
  let made = Uint8Array.from(bytes);
  for (let left = 1 + below(draw, 4); left > 0; left--) {
    const at = below(draw, made.length);
    const kind = below(draw, 8);
    if (kind < 4) made[at] = draw() < 0.4 ? pick(draw, NUMBERS) : below(draw, 256);
    else if (kind === 4) made[at] ^= 1 << below(draw, 8);
    else if (kind === 5) made = made.slice(0, at + 1);
    else if (kind === 6 && at + 8 <= made.length)
      new DataView(made.buffer).setBigUint64(
        at,
        BigInt.asUintN(64, BigInt(pick(draw, [0, -1, 1 << 30, 2 ** 40]))),
        true,
      );
    else
      made = Uint8Array.from([...made.subarray(0, at), ...made.subarray(below(draw, made.length))].slice(0, 2_000_000));
    if (made.length === 0) made = Uint8Array.of(0);
  }
  return made;
}
