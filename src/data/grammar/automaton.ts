/**
 * A deterministic automaton over bytes. State 0 is the accepting state, which has no edges: a text that has reached it is complete.
 */
export interface Automaton {
  start: number;
  /** next state by `state · 256 + byte`; -1: the byte is not allowed */
  edges: Int16Array;
  states: number;
  /** fewest bytes from each state to the accepting state */
  distance: Int32Array;
}

export const ACCEPT = 0;
const NONE = -1;

/** A state while the automaton is built. */
type Edges = Int16Array;

/** Builds an automaton from its end to its beginning: every part is given the state that follows it. */
export class AutomatonBuilder {
  readonly #states: Edges[] = [new Int16Array(256).fill(NONE)];

  state(): number {
    return this.#states.push(new Int16Array(256).fill(NONE)) - 1;
  }

  edge(from: number, bytes: string | readonly [first: number, last: number], to: number): void {
    if (typeof bytes === "string") for (const c of bytes) this.#states[from][c.charCodeAt(0)] = to;
    else this.#states[from].fill(to, bytes[0], bytes[1] + 1);
  }

  /** A state with all edges of `state`. */
  copy(state: number): number {
    return this.#states.push(this.#states[state].slice()) - 1;
  }

  /** Gives `state` all edges of another one. */
  fill(state: number, from: number): void {
    this.#states[state].set(this.#states[from]);
  }

  /** The ASCII text, then `next`. */
  literal(text: string, next: number): number {
    for (let i = text.length - 1; i >= 0; i--) {
      const state = this.state();
      this.edge(state, text[i], next);
      next = state;
    }
    return next;
  }

  /** No space, one space, or a new line with an indent of at most eight spaces, then `next`. */
  space(next: number): number {
    let indent = this.copy(next);
    for (let i = 0; i < 8; i++) {
      const deeper = this.copy(next);
      this.edge(deeper, " ", indent);
      indent = deeper;
    }
    const state = this.copy(next);
    this.edge(state, " ", this.copy(next));
    this.edge(state, "\n", indent);
    return state;
  }

  /**
   * A JSON string of at least one character that is not a space, then `next`: well-formed UTF-8, JSON's escapes, no control
   * characters, no halves of surrogate pairs.
   */
  string(next: number): number {
    const body = this.state();
    const follow = (...ranges: [first: number, last: number, to: number][]) => {
      const state = this.state();
      for (const [first, last, to] of ranges) this.edge(state, [first, last], to);
      return state;
    };
    const one = follow([0x80, 0xbf, body]);
    const two = follow([0x80, 0xbf, one]);
    const three = follow([0x80, 0xbf, two]);
    // Unicode's table 3-7: well-formed byte sequences
    const lead: [number, number, number][] = [
      [0x20, 0x7e, body],
      [0xc2, 0xdf, one],
      [0xe0, 0xe0, follow([0xa0, 0xbf, one])],
      [0xe1, 0xec, two],
      [0xed, 0xed, follow([0x80, 0x9f, one])],
      [0xee, 0xef, two],
      [0xf0, 0xf0, follow([0x90, 0xbf, two])],
      [0xf1, 0xf3, three],
      [0xf4, 0xf4, follow([0x80, 0x8f, two])],
    ];
    for (const [first, last, to] of lead) this.edge(body, [first, last], to);
    const digits = "0123456789abcdefABCDEF";
    let hex = body;
    for (let i = 0; i < 3; i++) {
      const state = this.state();
      this.edge(state, digits, hex);
      hex = state;
    }
    const unicode = this.state();
    this.edge(unicode, digits.replace(/[dD]/g, ""), hex); // \ud800 to \udfff are halves
    const escaped = this.state();
    this.edge(escaped, '"\\/bfnrt', body);
    this.edge(escaped, "u", unicode);
    this.edge(body, "\\", escaped);
    this.edge(body, '"', next);
    const first = this.copy(body);
    this.edge(first, '" ', NONE);
    const open = this.state();
    this.edge(open, '"', first);
    return open;
  }

  build(start: number): Automaton {
    const states = this.#states.length;
    const edges = new Int16Array(256 * states);
    for (const [i, own] of this.#states.entries()) edges.set(own, 256 * i);
    return { start, edges, states, distance: distances(edges, states) };
  }
}

/** Breadth-first from the accepting state, against the edges. */
function distances(edges: Int16Array, states: number): Int32Array {
  const distance = new Int32Array(states).fill(0x7fffffff);
  distance[ACCEPT] = 0;
  const before = Array.from({ length: states }, () => new Set<number>());
  for (let i = 0; i < edges.length; i++) if (edges[i] !== NONE) before[edges[i]].add(i >>> 8);
  let front = [ACCEPT];
  for (let steps = 1; front.length > 0; steps++) {
    const next: number[] = [];
    for (const state of front) {
      for (const from of before[state]) {
        if (distance[from] <= steps) continue;
        distance[from] = steps;
        next.push(from);
      }
    }
    front = next;
  }
  return distance;
}
