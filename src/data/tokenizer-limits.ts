import { FormatError } from "../errors.ts";

/** Most ways to match of a bounded repetition: with more, a regular expression can run for years. */
const mostWays = 10_000;
/** Most consecutive unbounded repetitions in one alternative; published tokenizers have two. */
const mostRepeats = 2;
/** Most growth of a text by all replacements together, as a factor. */
const mostGrowth = 64;
/** Most levels of groups, and of nested steps. */
const mostLevels = 50;

/** The matching cost of a piece of a regular expression. */
interface Shape {
  /** number of ways to match one text */
  ways: number;
  /** consecutive unbounded repetitions */
  repeats: number;
}

/**
 * Refuses a regular expression that can run forever. JavaScript's engine tries every way to match: in `(a+)+$`, the
 * number doubles with each letter. A repeated group must match in only one way, and few repetitions may be consecutive.
 *
 * @throws {Error} with the reason
 */
function checkPattern(pattern: string): void {
  const reader = new PatternReader(pattern);
  const shape = reader.alternatives(0);
  if (shape.repeats > mostRepeats) throw new Error(`${shape.repeats} unbounded repetitions follow each other`);
}

class PatternReader {
  private readonly text: string;
  at = 0;

  constructor(text: string) {
    this.text = text;
  }

  alternatives(depth: number): Shape {
    if (depth > mostLevels) throw new Error(`its groups nest more than ${mostLevels} deep`);
    const all = [this.sequence(depth)];
    while (this.text[this.at] === "|") {
      this.at++;
      all.push(this.sequence(depth));
    }
    return {
      ways: all.reduce((sum, { ways }) => sum + ways, 0),
      repeats: Math.max(...all.map(({ repeats }) => repeats)),
    };
  }

  private sequence(depth: number): Shape {
    const shape: Shape = { ways: 1, repeats: 0 };
    // an unopened bracket is a literal, as in BLOOM's pattern: the library fixes it
    const ends = (c: string): boolean => c === "|" || (c === ")" && depth > 0);
    while (this.at < this.text.length && !ends(this.text[this.at])) {
      const next = this.repeated(this.atom(depth));
      shape.ways = Math.min(Number.MAX_SAFE_INTEGER, shape.ways * next.ways);
      shape.repeats += next.repeats;
    }
    return shape;
  }

  private atom(depth: number): Shape {
    const c = this.text[this.at++];
    if (c === "\\") {
      const named = /^(?:[pP]\{[^}]*\}|[ux]\{?[0-9a-fA-F]+\}?|k<[^>]*>|.)/su.exec(
        this.text.slice(this.at, this.at + 64),
      );
      this.at += named ? named[0].length : 0;
    } else if (c === "[") this.characters();
    else if (c === "(") {
      const head = /^\?(?:[a-zA-Z]*(?:-[a-zA-Z]+)?:|<?[=!]|<[^>]*>|>)/.exec(this.text.slice(this.at, this.at + 64));
      this.at += head ? head[0].length : 0;
      const inner = this.alternatives(depth + 1);
      if (this.text[this.at++] !== ")") throw new Error("a group does not close");
      return inner;
    }
    return { ways: 1, repeats: 0 };
  }

  private characters(): void {
    if (this.text[this.at] === "^") this.at++;
    for (let first = true; this.text[this.at] !== "]" || first; first = false) {
      if (this.at >= this.text.length) throw new Error("a set of characters does not close");
      this.at += this.text[this.at] === "\\" ? 2 : 1;
      // in JavaScript, `[]` is an empty set
      if (first && this.text[this.at - 1] === "]") return;
    }
    this.at++;
  }

  private repeated(inner: Shape): Shape {
    const found = /^(?:[*+?]|\{(\d+)(,?)(\d*)\})[?+]?/.exec(this.text.slice(this.at, this.at + 32));
    if (!found) return inner;
    this.at += found[0].length;
    const mark = found[0][0];
    if (mark === "?") return { ways: inner.ways + 1, repeats: inner.repeats };
    const [least, open] = [Number(found[1] ?? 0), mark !== "{" || (found[2] !== "" && found[3] === "")];
    if (open) {
      if (inner.ways > 1 || inner.repeats > 0)
        throw new Error(`a group that matches in several ways is repeated without bound (${found[0]})`);
      return { ways: 1, repeats: 1 };
    }
    const most = found[2] === "" ? least : Number(found[3]);
    if (most > 1 && inner.repeats > 0) throw new Error(`a group with a repetition is repeated (${found[0]})`);
    const ways = inner.ways === 1 ? Math.max(1, most - least + 1) : inner.ways ** most * Math.max(1, most - least + 1);
    if (inner.ways > 1 && !(ways <= mostWays))
      throw new Error(`a group that matches in ${inner.ways} ways is repeated ${most} times`);
    return { ways: Math.min(ways, Number.MAX_SAFE_INTEGER), repeats: 0 };
  }
}

type Json = Record<string, unknown>;
const STAGES = ["normalizer", "pre_tokenizer", "post_processor", "decoder"];

/**
 * Checks the cost of a tokenizer.json's stages: their patterns, and the growth of a text by their replacements.
 *
 * @throws {FormatError} with the stage and the pattern
 */
export function checkStages(json: Json): void {
  for (const stage of STAGES) {
    let growth = 1;
    const visit = (value: unknown, depth: number): void => {
      if (typeof value !== "object" || value === null) return;
      if (depth > mostLevels) throw new FormatError(`tokenizer.json: its ${stage} nests more than ${mostLevels} deep`);
      const { pattern, content } = value as Json;
      const of = (typeof pattern === "object" && pattern !== null ? pattern : {}) as Json;
      if (typeof of.Regex === "string") {
        try {
          checkPattern(of.Regex);
        } catch (error) {
          const shown = of.Regex.length > 60 ? `${of.Regex.slice(0, 60)}…` : of.Regex;
          throw new FormatError(
            `tokenizer.json: the pattern ${shown} of its ${stage} can run forever: ${(error as Error).message}`,
          );
        }
      }
      if (typeof content === "string") {
        const replaced = typeof of.String === "string" ? of.String.length : 0;
        growth *= replaced === 0 ? content.length + 1 : Math.max(1, content.length / replaced);
        if (growth > mostGrowth) {
          throw new FormatError(
            `tokenizer.json: the replacements of its ${stage} make a text more than ${mostGrowth} times as long`,
          );
        }
      }
      for (const [key, inner] of Object.entries(value)) if (key !== "pattern") visit(inner, depth + 1);
    };
    visit(json[stage], 0);
  }
}
