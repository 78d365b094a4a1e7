import { add, fromDecimal, type Rational, rational } from "./rational.ts";

/** A token of an answer. */
export type Token =
  | { type: "number"; value: Rational; decimals: number | null; text: string; space: boolean }
  /** letters of a plain word, one or several */
  | { type: "word"; text: string; space: boolean }
  /** a LaTeX command without its backslash; `\begin` and `\end` with the environment: begin{pmatrix} */
  | { type: "command"; text: string; space: boolean }
  /** content of \text, \mathrm and similar commands */
  | { type: "text"; text: string; macro: string; space: boolean }
  /** anything else, normalised: + - * / ^ _ ( ) [ ] { } \{ \} | , ; : ! ' % & = ≠ < > ≤ ≥ ∈ ∪ ∩ ≈ ± ∓ → ° $ \\ or */
  | { type: "mark"; text: string; space: boolean };

/** The reading of a comma between digits: 1,234 as one number, as two numbers, or 1,5 as a decimal. */
export type CommaReading = "thousands" | "list" | "decimal";

/** An answer with syntax that this grammar does not cover. */
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

/** Commands that change only the formatting. */
const LOOKS =
  /^(?:left|right|middle|[bB]igg?[lrm]?|displaystyle|textstyle|scriptstyle|limits|nolimits|quad|qquad|enspace|thinspace|rm|bf|it|boldsymbol|mathstrut|strut|hfill|nonumber|large|Large|small|normalsize)$/;
const TEXT = /^(?:text|mbox|textbf|textit|textrm|textnormal|textsf|texttt|hbox|emph|textup)$/;
const ROMAN = /^(?:mathrm|mathbf|mathit|mathsf|mathtt|mathcal|mathscr|mathfrak|mathbb|operatorname|pmb|bm)$/;
/** Letters inside these commands are names; other content only changes its formatting. */
const BOLD = /^(?:mathbf|mathit|mathsf|mathtt|pmb|bm)$/;
/** 1.234,5: continental European notation. */
const CONTINENTAL = /^\d{1,3}(?:\.\d{3})+,\d+(?![\d.,])/;

/**
 * Splits an answer, LaTeX or plain, into tokens: normalises spellings, and drops formatting.
 *
 * @throws {SyntaxFault} unbalanced braces of a text, an unknown character, too many tokens
 */
export function tokenize(source: string, commas: CommaReading): Token[] {
  return new Lexer(respell(source), commas).read();
}

class Lexer {
  private readonly text: string;
  private readonly commas: CommaReading;
  private readonly tokens: Token[] = [];
  /** inside ( [ \{, and { that is not an argument, a comma separates numbers */
  private readonly brackets: boolean[] = [];
  private at = 0;
  private space = false;

  constructor(text: string, commas: CommaReading) {
    this.text = text;
    this.commas = commas;
  }

  read(): Token[] {
    while (this.at < this.text.length) {
      if (this.tokens.length > MAX_TOKENS) throw new SyntaxFault("too long");
      const c = this.text[this.at];
      if (/\s/.test(c) || c === "~") {
        this.space = true;
        this.at++;
        continue;
      }
      if (c === "\\") {
        const name = /^[a-zA-Z]+/.exec(this.text.slice(this.at + 1, this.at + 40))?.[0];
        if (name === undefined) {
          const next = this.text[this.at + 1] ?? "";
          this.at += 2;
          if (next === "\\") this.mark("\\\\");
          else if (next === "{" || next === "}") {
            this.mark(`\\${next}`);
            if (next === "{") this.brackets.push(true);
            else this.brackets.pop();
          } else if ("%$&|".includes(next) && next !== "") this.mark(next);
          else if (next === "_" || next === "#" || next === "(" || next === ")" || next === "[" || next === "]") {
            if (next === "_") this.mark("_");
          } else this.space = true;
          if (next === "" || !/[,;:! ]/.test(next)) this.space = false;
          continue;
        }
        this.at += 1 + name.length;
        this.at = this.command(name, this.at);
        continue;
      }
      const run =
        /\d/.test(c) || (c === "." && /\d/.test(this.text[this.at + 1] ?? "")) ? this.numberAt(this.at) : null;
      if (run) {
        this.tokens.push({
          type: "number",
          value: run.value,
          decimals: run.decimals,
          text: this.text.slice(this.at, run.end),
          space: this.space,
        });
        this.at = run.end;
      } else if (/[a-zA-Z\u0370-\u03ff]/.test(c)) {
        const word = /^[a-zA-Z\u0370-\u03ff]+/.exec(this.text.slice(this.at, this.at + 80))![0];
        this.at += word.length;
        if (/^(?:and|or)$/i.test(word)) this.mark(word.toLowerCase() === "or" ? "or" : ",");
        else this.tokens.push({ type: "word", text: word, space: this.space });
      } else if (PLAIN_MARKS.has(c)) this.at = this.plainMark(c, this.at);
      else if (c === "." || c === "?" || c === '"' || c === "`" || c === "€" || c === "£" || c === "¥") {
        if ("€£¥".includes(c)) this.mark("$");
        this.at++;
      } else throw new SyntaxFault(`${JSON.stringify(c)} is not read`);
      this.space = false;
    }
    return this.tokens;
  }

  private mark(name: string): void {
    this.tokens.push({ type: "mark", text: name, space: this.space });
  }

  private plainMark(c: string, from: number): number {
    const two = this.text.slice(from, from + 2);
    const spelled = { "<=": "≤", ">=": "≥", "=>": "→", "->": "→", "**": "^", "==": "=", ":=": "=", "+-": "±" }[two];
    // 5!=120 is a factorial, x != 5 an inequality
    if (two === "!=" && (this.space || this.tokens.at(-1)?.type !== "number")) this.mark("≠");
    else if (spelled) this.mark(spelled);
    else {
      if (c === "(" || c === "[") this.brackets.push(true);
      else if (c === "{") this.brackets.push(this.tokens.length === 0 || /^[=∈]$/.test(this.tokens.at(-1)!.text));
      else if (c === ")" || c === "]" || c === "}") this.brackets.pop();
      this.mark(c);
      return from + 1;
    }
    return from + 2;
  }

  /** Reads a command's token. @returns the position after it */
  private command(name: string, from: number): number {
    if (LOOKS.test(name)) {
      if (/^(?:left|right)$/.test(name) && this.text[from] === ".") return from + 1;
      if (name.includes("quad")) this.space = true;
      return from;
    }
    if (TEXT.test(name) || ROMAN.test(name)) {
      const group = this.groupAt(from);
      // \mathbf{21} is 21 in bold
      const looks = BOLD.test(name) ? !/^[\sa-zA-Z~]*$/.test(group.content) : /^[\d\s.,+*/^()-]+$/.test(group.content);
      if (looks && this.text[from] === "{") return from;
      const content = group.content.replace(/\\[,;:! ]|[~$]/g, " ").trim();
      const joined = TEXT.test(name) && /(?:^|[^a-z])(and|or)(?:[^a-z]|$)/i.exec(content);
      if (joined && this.tokens.length > 0) this.mark(joined[1].toLowerCase() === "or" ? "or" : ",");
      else this.tokens.push({ type: "text", text: content, macro: name, space: this.space });
      this.space = false;
      return group.end;
    }
    if (name === "begin" || name === "end") {
      const group = this.groupAt(from);
      this.tokens.push({ type: "command", text: `${name}{${group.content.replace("*", "")}}`, space: this.space });
      this.space = false;
      // an array has a column alignment
      return name === "begin" && group.content === "array" && this.text[group.end] === "{"
        ? this.groupAt(group.end).end
        : group.end;
    }
    if (name === "hspace" || name === "vspace" || name === "phantom" || name === "tag" || name === "label") {
      return this.groupAt(from).end;
    }
    if (Object.hasOwn(MARKS, name)) {
      if (name === "lbrace" || name === "lbrack") this.brackets.push(true);
      else if (name === "rbrace" || name === "rbrack") this.brackets.pop();
      this.mark(MARKS[name]);
    } else if (name === "circ") this.mark("°");
    else this.tokens.push({ type: "command", text: name, space: this.space });
    this.space = false;
    return from;
  }

  /** The group in braces at a position, or the next character. */
  private groupAt(from: number): { content: string; end: number } {
    let start = from;
    while (this.text[start] === " ") start++;
    if (this.text[start] !== "{") {
      const escaped = /^\\[a-zA-Z]+/.exec(this.text.slice(start, start + 40))?.[0];
      const length = escaped?.length ?? 1;
      return { content: this.text.slice(start, start + length), end: start + length };
    }
    let depth = 0;
    for (let i = start; i < this.text.length; i++) {
      if (this.text[i] === "\\") i++;
      else if (this.text[i] === "{") depth++;
      else if (this.text[i] === "}" && --depth === 0) return { content: this.text.slice(start + 1, i), end: i + 1 };
    }
    throw new SyntaxFault("a brace is not closed");
  }

  private numberAt(from: number): { value: Rational; decimals: number | null; end: number } {
    const run = /^\d*(?:,\d+)*/.exec(this.text.slice(from, from + 500))![0];
    const inList = this.brackets.at(-1) === true;
    const continental =
      this.commas === "decimal" && !inList ? CONTINENTAL.exec(this.text.slice(from, from + 500))?.[0] : undefined;
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
    if (parts.length > 1 && !inList && this.commas === "thousands" && /^\d{1,3}(?:,\d{3})+$/.test(run)) {
      whole = parts.join("");
      end = from + run.length;
    } else if (parts.length === 2 && !inList && this.commas === "decimal" && !/^[1-9]\d{0,2},\d{3}$/.test(run)) {
      [whole, fraction] = parts;
      end = from + run.length;
    }
    if (
      fraction === null &&
      this.text[end] === "." &&
      (/\d/.test(this.text[end + 1] ?? "") || !this.text.startsWith("..", end))
    ) {
      fraction = /^\d*/.exec(this.text.slice(end + 1, end + 400))![0];
      end += 1 + fraction.length;
    }
    const repeated = fraction === null ? null : this.repeatingAt(fraction, end);
    if (repeated) {
      const value = repeating(whole, repeated.head, repeated.block);
      if (!value) throw new SyntaxFault("a number is too long");
      return { value, decimals: null, end: repeated.end };
    }
    const exponent = /^[eE][+-]?\d{1,4}(?![\w.])/.exec(this.text.slice(end, end + 8))?.[0];
    if (exponent) end += exponent.length;
    const shift = exponent ? Number(exponent.slice(1)) : 0;
    const value = fromDecimal(whole, fraction ?? "", shift);
    if (!value) throw new SyntaxFault("a number is too long");
    const decimals = fraction === null && shift >= 0 ? null : Math.max(0, (fraction ?? "").length - shift);
    return { value, decimals: fraction === "" && shift === 0 ? null : decimals, end };
  }

  /** 0.1\overline{6}, 0.\dot{3}, 0.1(6), 0.333…: the digits before the repeating block, and the block. */
  private repeatingAt(fraction: string, end: number): { head: string; block: string; end: number } | null {
    const rest = this.text.slice(end, end + 60);
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

/** whole.head followed by block repeated forever: whole.head + block / 99…900…0. */
function repeating(whole: string, head: string, block: string): Rational | null {
  const before = fromDecimal(whole, head);
  const after = rational(BigInt(block), (10n ** BigInt(block.length) - 1n) * 10n ** BigInt(head.length));
  return before && after && add(before, after);
}

/** Normalises the text before tokens are read. */
function respell(source: string): string {
  let text = source
    .replace(/[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+/g, (run) => `^{${[...run].map((c) => "0123456789-+"[SUPERSCRIPTS.indexOf(c)]).join("")}}`)
    .replace(CHARACTER, (c) => CHARACTERS[c]);
  // doubly escaped text: \\frac for \frac, and \\\\ for a row's end
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
