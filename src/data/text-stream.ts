import { DataError } from "../errors.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** The decoding of invalid or incomplete UTF-8. */
const BROKEN = "\ufffd";

/**
 * Decodes tokens as they arrive. Characters that span several tokens are output whole; text that may begin a stop
 * string is held back until that is known. A stop string ends the text and is not part of it, as with vLLM's
 * `include_stop_str_in_output=False`. Of several stop strings, the first complete one counts; of those, the longest.
 *
 * Special tokens are left out. The outputs of `push` and `end` concatenate to `decode` of all tokens; exact for
 * byte-level tokenizers, such as all of Qwen's.
 */
export class TextStream {
  private readonly tokenizer: Pick<Tokenizer, "decode">;
  private readonly stops: readonly string[];
  private readonly longest: number;
  /** tokens since the last token that ended with a whole character */
  private readonly open: number[] = [];
  /** characters of the open tokens' text that are already output */
  private out = 0;
  /** whole characters that may begin a stop string */
  private held = "";
  /** all text output so far */
  text = "";
  /** number of processed tokens; with a stop string, up to the token that completed it */
  tokens = 0;
  /** the stop string that ended the text */
  stopped: string | null = null;

  /** @throws {DataError} an empty stop string, which would end every text at once */
  constructor(tokenizer: Pick<Tokenizer, "decode">, stops: readonly string[] = []) {
    if (stops.includes("")) throw new DataError("Cannot use an empty stop string: it needs at least one character");
    this.tokenizer = tokenizer;
    this.stops = stops;
    this.longest = Math.max(0, ...stops.map((stop) => stop.length));
  }

  /** Adds tokens and returns the text that is now certain. Tokens after a stop string are ignored. */
  push(ids: ArrayLike<number>): string {
    let fresh = "";
    for (let i = 0; i < ids.length && this.stopped === null; i++) {
      this.tokens++;
      fresh += this.match(this.decode(ids[i]));
    }
    this.text += fresh;
    return fresh;
  }

  /** The held-back text; call after the last token. */
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

  /** Whole characters that a token adds. An incomplete character at the end decodes to a single BROKEN. */
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

  /** Outputs text up to a stop string, or up to text that may begin one. */
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

  /** Number of held characters at the end that begin a stop string. */
  private begun(): number {
    for (let length = Math.min(this.held.length, this.longest - 1); length > 0; length--) {
      const tail = this.held.slice(-length);
      if (this.stops.some((stop) => stop.length > length && stop.startsWith(tail))) return length;
    }
    return 0;
  }
}
