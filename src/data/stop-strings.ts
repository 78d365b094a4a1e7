import { DataError } from "../errors.ts";
import type { Tokenizer } from "./tokenizer.ts";

/**
 * Texts that end a completion, as transformers' `stop_strings` do: the completion ends with the first token after which
 * its text holds one of them. That token counts whole, so a completion may end with a few characters more. A stop string
 * may begin in the prompt, and special tokens count by their own text.
 *
 * Matching goes by UTF-8 bytes, so neither borders of tokens nor characters of several tokens matter.
 *
 * @see transformers' StopStringCriteria
 */
export class StopStrings {
  private readonly tokenizer: Pick<Tokenizer, "bytesOf">;
  private readonly stops: readonly Uint8Array[];
  private readonly known = new Map<number, Uint8Array>();
  /** bytes before a token that may belong to a stop string which ends in it */
  private readonly reach: number;

  /** @throws {DataError} an empty stop string, which would end every completion at once */
  constructor(tokenizer: Pick<Tokenizer, "bytesOf">, stop_strings: readonly string[]) {
    if (stop_strings.includes("")) {
      throw new DataError("Cannot use an empty stop string: it needs at least one character");
    }
    this.tokenizer = tokenizer;
    this.stops = stop_strings.map((text) => new TextEncoder().encode(text));
    this.reach = Math.max(0, ...this.stops.map(({ length }) => length - 1));
  }

  /** Watches one completion. */
  watch(prompt_ids: readonly number[]): StopWatch {
    const before: number[] = [];
    for (let i = prompt_ids.length - 1; i >= 0 && before.length < this.reach; i--) {
      before.unshift(...this.bytes(prompt_ids[i]));
    }
    return new StopWatch(this, this.tailOf(before));
  }

  /** @returns the last `reach` bytes after `id`, or null if a stop string ends in it */
  next(tail: readonly number[], id: number): number[] | null {
    const bytes = [...tail, ...this.bytes(id)];
    const ends = this.stops.some((stop) => {
      // the match must end in the new token
      for (let at = Math.max(0, tail.length - stop.length + 1); at + stop.length <= bytes.length; at++) {
        if (stop.every((byte, i) => bytes[at + i] === byte)) return true;
      }
      return false;
    });
    return ends ? null : this.tailOf(bytes);
  }

  private tailOf(bytes: number[]): number[] {
    return this.reach === 0 ? [] : bytes.slice(-this.reach);
  }

  private bytes(id: number): Uint8Array {
    let bytes = this.known.get(id);
    if (!bytes) this.known.set(id, (bytes = this.tokenizer.bytesOf(id)));
    return bytes;
  }
}

/** Looks for stop strings in one completion while it grows. */
class StopWatch {
  private readonly strings: StopStrings;
  private tail: number[];
  private seen = 0;
  /** tokens up to the end of the first stop string, or null */
  length: number | null = null;

  constructor(strings: StopStrings, tail: number[]) {
    this.strings = strings;
    this.tail = tail;
  }

  /** @param ids the whole completion so far @returns the length to cut it to, or null to continue */
  check(ids: readonly number[]): number | null {
    while (this.length === null && this.seen < ids.length) {
      const next = this.strings.next(this.tail, ids[this.seen++]);
      if (next === null) this.length = this.seen;
      else this.tail = next;
    }
    return this.length;
  }
}
