import { add, fromDecimal, type Rational, rational } from "./rational.ts";

/** A piece of an answer. */
export type Token =
  | { type: "number"; value: Rational; decimals: number | null; text: string; space: boolean }
  /** letters of a plain word, one or several */
  | { type: "word"; text: string; space: boolean }
  /** a LaTeX command without its backslash; `\begin` and `\end` with the environment: begin{pmatrix} */
  | { type: "command"; text: string; space: boolean }
  /** content of \text, \mathrm and their like */
  | { type: "text"; text: string; macro: string; space: boolean }
  /** anything else, in one spelling: + - * / ^ _ ( ) [ ] { } \{ \} | , ; : ! ' % & = ≠ < > ≤ ≥ ∈ ∪ ∩ ≈ ± ∓ → ° $ \\ or */
  | { type: "mark"; text: string; space: boolean };

/** How a comma between digits is read: 1,234 as a thousand, as two numbers, or 1,5 as a decimal. */
export type CommaReading = "thousands" | "list" | "decimal";

/** An answer that is not in the language that is read here. */
export class SyntaxFault extends Error {}

const MAX_TOKENS = 1000;

const CHARACTERS: Readonly<Record<string, string>> = {
  "−": "-",
  "–": "-",
  "—": "-",
  "×": "*",
  "·": "*",
  "⋅": "*",
  "∗": "*",
  "÷": "/",
  "∶": ":",
  "：": ":",
  "，": ",",
  "（": "(",
  "）": ")",
  "√": "\\sqrt ",
  π: "\\pi ",
  "∞": "\\infty ",
  θ: "\\theta ",
  α: "\\alpha ",
  β: "\\beta ",
  γ: "\\gamma ",
  λ: "\\lambda ",
  μ: "\\mu ",
  ω: "\\omega ",
  φ: "\\phi ",
  "½": "\\frac{1}{2}",
  "¼": "\\frac{1}{4}",
  "¾": "\\frac{3}{4}",
  ℝ: "\\mathbb{R}",
  "∅": "\\emptyset ",
  "′": "'",
  "’": "'",
  "\u00a0": " ",
  "\u202f": " ",
  "\u2009": " ",
};
const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺";
const CHARACTER = new RegExp(`[${Object.keys(CHARACTERS).join("")}]`, "gu");

const MARKS: Readonly<Record<string, string>> = {
  cdot: "*",
  times: "*",
  ast: "*",
  div: "/",
  colon: ":",
  le: "≤",
  leq: "≤",
  leqslant: "≤",
  ge: "≥",
  geq: "≥",
  geqslant: "≥",
  lt: "<",
  gt: ">",
  ne: "≠",
  neq: "≠",
  in: "∈",
  cup: "∪",
  cap: "∩",
  approx: "≈",
  simeq: "≈",
  sim: "≈",
  pm: "±",
  mp: "∓",
  to: "→",
  rightarrow: "→",
  Rightarrow: "→",
  implies: "→",
  mid: "|",
  vert: "|",
  lvert: "|",
  rvert: "|",
  lbrace: "\\{",
  rbrace: "\\}",
  lbrack: "[",
  rbrack: "]",
  prime: "'",
  lor: "or",
  vee: "or",
  land: ",",
  wedge: ",",
};
const PLAIN_MARKS = new Set("+-*/^_()[]{}|,;:!'%&=<>≤≥≠∈∪∩≈±→°$".split(""));

/** Commands that change how an answer looks and nothing else. */
const LOOKS =
  /^(?:left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|scriptstyle|limits|nolimits|quad|qquad|enspace|thinspace|rm|bf|it|boldsymbol|mathstrut|strut|hfill|nonumber|large|Large|small|normalsize)$/;
const TEXT = /^(?:text|mbox|textbf|textit|textrm|textnormal|textsf|texttt|hbox|emph|textup)$/;
const ROMAN = /^(?:mathrm|mathbf|mathit|mathsf|mathtt|mathcal|mathscr|mathfrak|mathbb|operatorname|pmb|bm)$/;
/** Letters in these are names; what else stands in them only looks otherwise. */
const BOLD = /^(?:mathbf|mathit|mathsf|mathtt|pmb|bm)$/;
/** 1.234,5 as it is written on the continent. */
const CONTINENTAL = /^\d{1,3}(?:\.\d{3})+,\d+(?![\d.,])/;

/**
 * Splits an answer, LaTeX or plain, into tokens: one spelling for what has several, what only looks left out.
 *
 * @throws {SyntaxFault} unbalanced braces of a text, a character that means nothing, too many tokens
 */
export function tokenize(source: string, commas: CommaReading): Token[] {
  const text = respell(source);
  const tokens: Token[] = [];
  // inside ( [ \{, and { that is no argument, a comma parts numbers
  const brackets: boolean[] = [];
  let at = 0;
  let space = false;
  const mark = (name: string) => tokens.push({ type: "mark", text: name, space });

  while (at < text.length) {
    if (tokens.length > MAX_TOKENS) throw new SyntaxFault("too long");
    const c = text[at];
    if (/\s/.test(c) || c === "~") {
      space = true;
      at++;
      continue;
    }
    if (c === "\\") {
      const name = /^[a-zA-Z]+/.exec(text.slice(at + 1, at + 40))?.[0];
      if (name === undefined) {
        const next = text[at + 1] ?? "";
        at += 2;
        if (next === "\\") mark("\\\\");
        else if (next === "{" || next === "}") {
          mark(`\\${next}`);
          if (next === "{") brackets.push(true);
          else brackets.pop();
        } else if ("%$&|".includes(next) && next !== "") mark(next);
        else if (next === "_" || next === "#" || next === "(" || next === ")" || next === "[" || next === "]") {
          if (next === "_") mark("_");
        } else space = true;
        if (next === "" || !/[,;:! ]/.test(next)) space = false;
        continue;
      }
      at += 1 + name.length;
      at = command(name, at);
      continue;
    }
    const run = /\d/.test(c) || (c === "." && /\d/.test(text[at + 1] ?? "")) ? numberAt(at) : null;
    if (run) {
      tokens.push({ type: "number", value: run.value, decimals: run.decimals, text: text.slice(at, run.end), space });
      at = run.end;
    } else if (/[a-zA-Z\u0370-\u03ff]/.test(c)) {
      const word = /^[a-zA-Z\u0370-\u03ff]+/.exec(text.slice(at, at + 80))![0];
      at += word.length;
      if (/^(?:and|or)$/i.test(word)) mark(word.toLowerCase() === "or" ? "or" : ",");
      else tokens.push({ type: "word", text: word, space });
    } else if (PLAIN_MARKS.has(c)) at = plainMark(c, at);
    else if (c === "." || c === "?" || c === '"' || c === "`" || c === "€" || c === "£" || c === "¥") {
      if ("€£¥".includes(c)) mark("$");
      at++;
    } else throw new SyntaxFault(`${JSON.stringify(c)} is not read`);
    space = false;
  }
  return tokens;

  function plainMark(c: string, from: number): number {
    const two = text.slice(from, from + 2);
    const spelled = { "<=": "≤", ">=": "≥", "=>": "→", "->": "→", "**": "^", "==": "=", ":=": "=", "+-": "±" }[two];
    // 5!=120 is a factorial, x != 5 an inequation
    if (two === "!=" && (space || tokens.at(-1)?.type !== "number")) mark("≠");
    else if (spelled) mark(spelled);
    else {
      if (c === "(" || c === "[") brackets.push(true);
      else if (c === "{") brackets.push(tokens.length === 0 || /^[=∈]$/.test(tokens.at(-1)!.text));
      else if (c === ")" || c === "]" || c === "}") brackets.pop();
      mark(c);
      return from + 1;
    }
    return from + 2;
  }

  /** Reads a command's token. @returns where the text goes on */
  function command(name: string, from: number): number {
    if (LOOKS.test(name)) {
      if (/^(?:left|right)$/.test(name) && text[from] === ".") return from + 1;
      if (name.includes("quad")) space = true;
      return from;
    }
    if (TEXT.test(name) || ROMAN.test(name)) {
      const group = groupAt(from);
      // \mathbf{21} is 21 in bold
      const looks = BOLD.test(name) ? !/^[\sa-zA-Z~]*$/.test(group.content) : /^[\d\s.,+*/^()-]+$/.test(group.content);
      if (looks && text[from] === "{") return from;
      const content = group.content.replace(/\\[,;:! ]|[~$]/g, " ").trim();
      const joined = TEXT.test(name) && /(?:^|[^a-z])(and|or)(?:[^a-z]|$)/i.exec(content);
      if (joined && tokens.length > 0) mark(joined[1].toLowerCase() === "or" ? "or" : ",");
      else tokens.push({ type: "text", text: content, macro: name, space });
      space = false;
      return group.end;
    }
    if (name === "begin" || name === "end") {
      const group = groupAt(from);
      tokens.push({ type: "command", text: `${name}{${group.content.replace("*", "")}}`, space });
      space = false;
      // an array says how its columns are aligned
      return name === "begin" && group.content === "array" && text[group.end] === "{"
        ? groupAt(group.end).end
        : group.end;
    }
    if (name === "hspace" || name === "vspace" || name === "phantom" || name === "tag" || name === "label") {
      return groupAt(from).end;
    }
    if (Object.hasOwn(MARKS, name)) {
      if (name === "lbrace" || name === "lbrack") brackets.push(true);
      else if (name === "rbrace" || name === "rbrack") brackets.pop();
      mark(MARKS[name]);
    } else if (name === "circ") mark("°");
    else tokens.push({ type: "command", text: name, space });
    space = false;
    return from;
  }

  /** The group in braces at a place, or its next character. */
  function groupAt(from: number): { content: string; end: number } {
    let start = from;
    while (text[start] === " ") start++;
    if (text[start] !== "{") {
      const escaped = /^\\[a-zA-Z]+/.exec(text.slice(start, start + 40))?.[0];
      const length = escaped?.length ?? 1;
      return { content: text.slice(start, start + length), end: start + length };
    }
    let depth = 0;
    for (let i = start; i < text.length; i++) {
      if (text[i] === "\\") i++;
      else if (text[i] === "{") depth++;
      else if (text[i] === "}" && --depth === 0) return { content: text.slice(start + 1, i), end: i + 1 };
    }
    throw new SyntaxFault("a brace is not closed");
  }

  function numberAt(from: number): { value: Rational; decimals: number | null; end: number } {
    const run = /^\d*(?:,\d+)*/.exec(text.slice(from, from + 500))![0];
    const inList = brackets.at(-1) === true;
    const continental =
      commas === "decimal" && !inList ? CONTINENTAL.exec(text.slice(from, from + 500))?.[0] : undefined;
    if (continental !== undefined) {
      const [digits, decimals] = continental.replaceAll(".", "").split(",");
      const value = fromDecimal(digits, decimals);
      if (!value) throw new SyntaxFault("a number is too long");
      return { value, decimals: decimals.length, end: from + continental.length };
    }
    let whole = /^\d*/.exec(run)![0];
    let end = from + whole.length;
    let fraction: string | null = null;
    const parts = run.split(",");
    if (parts.length > 1 && !inList && commas === "thousands" && /^\d{1,3}(?:,\d{3})+$/.test(run)) {
      whole = parts.join("");
      end = from + run.length;
    } else if (parts.length === 2 && !inList && commas === "decimal" && !/^[1-9]\d{0,2},\d{3}$/.test(run)) {
      [whole, fraction] = parts;
      end = from + run.length;
    }
    if (fraction === null && text[end] === "." && (/\d/.test(text[end + 1] ?? "") || !text.startsWith("..", end))) {
      fraction = /^\d*/.exec(text.slice(end + 1, end + 400))![0];
      end += 1 + fraction.length;
    }
    const repeated = fraction === null ? null : repeatingAt(fraction, end);
    if (repeated) {
      const value = repeating(whole, repeated.head, repeated.block);
      if (!value) throw new SyntaxFault("a number is too long");
      return { value, decimals: null, end: repeated.end };
    }
    const exponent = /^[eE][+-]?\d{1,4}(?![\w.])/.exec(text.slice(end, end + 8))?.[0];
    if (exponent) end += exponent.length;
    const shift = exponent ? Number(exponent.slice(1)) : 0;
    const value = fromDecimal(whole, fraction ?? "", shift);
    if (!value) throw new SyntaxFault("a number is too long");
    const decimals = fraction === null && shift >= 0 ? null : Math.max(0, (fraction ?? "").length - shift);
    return { value, decimals: fraction === "" && shift === 0 ? null : decimals, end };
  }

  /** 0.1\overline{6}, 0.\dot{3}, 0.1(6), 0.333…: what stands before the block that repeats, and the block. */
  function repeatingAt(fraction: string, end: number): { head: string; block: string; end: number } | null {
    const rest = text.slice(end, end + 60);
    const barred = /^\s*\\(?:overline|bar|dot)\s*\{?(\d{1,30})\}?/.exec(rest);
    if (barred) return { head: fraction, block: barred[1], end: end + barred[0].length };
    const round = /^\((\d{1,30})\)\s*$/.exec(rest);
    if (round) return { head: fraction, block: round[1], end: end + round[0].length };
    const dots = /^\s*(?:\.\.\.|…|\\l?dots)/.exec(rest);
    if (!dots || fraction.length < 3) return null;
    const found = /^(\d*?)(\d+?)\2+$/.exec(fraction.slice(-24));
    if (!found || found[0].length - found[1].length < 3) return null;
    return { head: fraction.slice(0, -found[2].length), block: found[2], end: end + dots[0].length };
  }
}

/** whole.head followed by block for ever: whole.head + block / 99…900…0. */
function repeating(whole: string, head: string, block: string): Rational | null {
  const before = fromDecimal(whole, head);
  const after = rational(BigInt(block), (10n ** BigInt(block.length) - 1n) * 10n ** BigInt(head.length));
  return before && after && add(before, after);
}

/** One spelling before the tokens are read. */
function respell(source: string): string {
  let text = source
    .replace(/[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+/g, (run) => `^{${[...run].map((c) => "0123456789-+"[SUPERSCRIPTS.indexOf(c)]).join("")}}`)
    .replace(CHARACTER, (c) => CHARACTERS[c]);
  // text that was escaped twice: \\frac for \frac, and \\\\ for a row's end
  const doubled = /\\\\begin/.test(text) || (!/\\begin/.test(text) && /\\\\[a-zA-Z({[]/.test(text));
  if (doubled) text = text.replaceAll("\\\\", "\\");
  text = text
    .replace(/\\q?quad(?=[a-z])/g, " ")
    .replace(/\b(?:np|numpy|math|sympy|sp)\.(?=[a-z])/g, "")
    // 10,\!080 and 14{,}916 and 1\,000 are numbers
    .replace(/(?<=\d)\s*(?:\{\s*,\s*\}|,?\s*\\!|,?\\,|\\ |\\;)\s*(?=\d{3}(?!\d))/g, "")
    .replace(/\^\s*(?:\\circ(?![a-zA-Z])|\{\s*\\circ\s*\})/g, "°")
    .replace(/\\degree(?![a-zA-Z])/g, "°");
  return /^\s*[+-]?\d{1,3}(?: \d{3})+(?:\.\d+)?\s*$/.test(text) ? text.replaceAll(" ", "") : text;
}
