import type { Expression } from "./expression.ts";
import { SyntaxFault, type Token } from "./lexer.ts";

/** Grammar rules that call each other across files. */
export interface Grammar {
  /** items between separators, and whether one of these is "or" */
  items(cursor: Cursor): { items: Expression[]; or: boolean };
  item(cursor: Cursor): Expression;
  sum(cursor: Cursor): Expression;
  product(cursor: Cursor): Expression;
  /** a factor with its exponents */
  power(cursor: Cursor): Expression;
  /** a macro's argument: a group, or the next symbol or number */
  argument(cursor: Cursor): Expression;
  startsFactor(cursor: Cursor): boolean;
}

/** Nesting limit: deeper than any answer, and far below the stack limit. */
const MAX_DEPTH = 60;

/** A position in the tokens of an answer. */
export class Cursor {
  readonly #tokens: Token[];
  readonly grammar: Grammar;
  at = 0;
  #depth = 0;
  /** inside |…|, where the next | closes */
  absolute = 0;

  constructor(tokens: Token[], grammar: Grammar) {
    this.#tokens = tokens;
    this.grammar = grammar;
  }

  peek(ahead = 0): Token | undefined {
    return this.#tokens[this.at + ahead];
  }

  next(): Token {
    const token = this.#tokens[this.at++];
    if (!token) throw new SyntaxFault("it ends too early");
    return token;
  }

  get ended(): boolean {
    return this.at >= this.#tokens.length;
  }

  /** Ignores all remaining tokens. */
  cut(): void {
    this.#tokens.length = this.at;
  }

  isMark(text: string, ahead = 0): boolean {
    const token = this.peek(ahead);
    return token?.type === "mark" && token.text === text;
  }

  isCommand(text: string, ahead = 0): boolean {
    const token = this.peek(ahead);
    return token?.type === "command" && token.text === text;
  }

  /** Takes a mark if it is next. */
  took(text: string): boolean {
    if (!this.isMark(text)) return false;
    this.at++;
    return true;
  }

  expect(...marks: string[]): string {
    const token = this.next();
    if (token.type !== "mark" || !marks.includes(token.text)) throw new SyntaxFault(`${token.text} for ${marks[0]}`);
    return token.text;
  }

  /** Replaces the next token with others. */
  replace(...tokens: Token[]): void {
    this.#tokens.splice(this.at, 1, ...tokens);
  }

  /** Runs a rule one level down. @throws {SyntaxFault} too deep */
  inside<T>(rule: () => T): T {
    if (++this.#depth > MAX_DEPTH) throw new SyntaxFault("too deep");
    const result = rule();
    this.#depth--;
    return result;
  }
}
