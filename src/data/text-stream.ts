import { DataError } from "../errors.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** What bytes that are no character, or not yet one, decode to. */
const BROKEN = "\ufffd";

/**
 * Text of tokens as they come. A character that is spread over several tokens comes whole; text that may turn out to be
 * the beginning of a stop string is held back until that is known. A stop string ends the text and is left out of it, as
 * vLLM's `include_stop_str_in_output=False` has it: of several the one that is complete first, of those the longest.
 *
 * Special tokens are left out. What `push` and `end` return adds up to what `decode` makes of all tokens; exact for
 * byte-level tokenizers, such as all of Qwen's.
 */
export class TextStream {
  private readonly tokenizer: Pick<Tokenizer, "decode">;
  private readonly stops: readonly string[];
  private readonly longest: number;
  /** tokens since the last one that ended with a whole character */
  private readonly open: number[] = [];
  /** characters of the open tokens' text that are already out */
  private out = 0;
  /** whole characters that may begin a stop string */
  private held = "";
  /** all text that has come out */
  text = "";
  /** tokens that were taken in: with a stop string, those up to the one that completed it */
  tokens = 0;
  /** the stop string that ended the text */
  stopped: string | null = null;

  /** @throws {DataError} an empty stop string, which would end every text before it begins */
  constructor(tokenizer: Pick<Tokenizer, "decode">, stops: readonly string[] = []) {
    if (stops.includes("")) throw new DataError("Cannot stop at an empty text: a stop string needs a character");
    this.tokenizer = tokenizer;
    this.stops = stops;
    this.longest = Math.max(0, ...stops.map((stop) => stop.length));
  }

  /** The text that these tokens make certain. Tokens after a stop string are not taken in. */
  push(ids: ArrayLike<number>): string {
    let fresh = "";
    for (let i = 0; i < ids.length && this.stopped === null; i++) {
      this.tokens++;
      fresh += this.match(this.decode(ids[i]));
    }
    this.text += fresh;
    return fresh;
  }

  /** What was held back, once no more tokens come. */
  end(): string {
    if (this.stopped !== null) return "";
    let fresh = this.match(this.decoded().slice(this.out));
    if (this.stopped === null) fresh += this.held;
    this.open.length = 0;
    this.out = 0;
    this.held = "";
    this.text += fresh;
    return fresh;
  }

  private decoded(): string {
    return this.tokenizer.decode(this.open, { skip_special_tokens: true });
  }

  /** Whole characters that a token adds. An unfinished one at the end of the tokens decodes to a single BROKEN. */
  private decode(id: number): string {
    this.open.push(id);
    const text = this.decoded();
    const whole = text.length - (text.endsWith(BROKEN) ? 1 : 0);
    const fresh = text.slice(this.out, whole);
    this.out = whole;
    if (whole === text.length) {
      this.open.length = 0;
      this.out = 0;
    }
    return fresh;
  }

  /** Lets text out up to a stop string, or to what may begin one. */
  private match(fresh: string): string {
    this.held += fresh;
    let [start, end] = [-1, Number.POSITIVE_INFINITY];
    for (const stop of this.stops) {
      const at = this.held.indexOf(stop);
      if (at < 0 || at + stop.length > end || (at + stop.length === end && at > start)) continue;
      [start, end] = [at, at + stop.length];
      this.stopped = stop;
    }
    const keep = this.stopped === null ? this.begun() : this.held.length - start;
    const certain = this.held.slice(0, this.held.length - keep);
    this.held = this.stopped === null ? this.held.slice(certain.length) : "";
    return certain;
  }

  /** Characters at the end of what is held that begin a stop string. */
  private begun(): number {
    for (let length = Math.min(this.held.length, this.longest - 1); length > 0; length--) {
      const tail = this.held.slice(-length);
      if (this.stops.some((stop) => stop.length > length && stop.startsWith(tail))) return length;
    }
    return 0;
  }
}
