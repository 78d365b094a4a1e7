import type { Tensor } from "./tensor.ts";

/** What recordings that use a value depend on. */
export interface Described {
  /** the same for values that differ only in their tensors' buffers and labels */
  readonly id: number;
  /** its tensors, in order; the same one only once */
  readonly tensors: readonly Tensor[];
  /** the numbers that `apart` took out, in order */
  readonly apart: readonly number[];
}

/** A field whose value may be set anew, and its value when the object was described. */
interface Field {
  readonly of: object;
  readonly name: string;
  readonly value: unknown;
}

/** How fields of a value are described. */
interface Describing {
  /** fields that differ without changing what is recorded but for `seed…` parameters: they do not count */
  readonly apart?: (of: object, name: string) => boolean;
  /** fields that may be set anew: the object is then described again */
  readonly mutable?: readonly string[];
}

const DEEPEST = 12;
/** Descriptions that are remembered at most. */
const MOST = 4096;

/** Describes objects by everything in them but the identity of their tensors, once for each object. */
export class Descriptions {
  private readonly ids = new Map<string, number>();
  private numbers = 0;
  private readonly classes = new Map<unknown, number>();
  private readonly known = new WeakMap<object, { described: Described | null; fields: readonly Field[] }>();
  private readonly how: Describing;

  constructor(how: Describing = {}) {
    this.how = how;
  }

  /** @returns null for an object with functions, or one that is too deep */
  of(value: object): Described | null {
    const known = this.known.get(value);
    if (known?.fields.every(({ of, name, value }) => (of as Record<string, unknown>)[name] === value)) {
      return known.described;
    }
    const walk = new Walk(this.how, this.classes);
    const whole = walk.visit(value, 0);
    const described = whole ? { id: this.idOf(walk.words.join(" ")), tensors: walk.tensors, apart: walk.apart } : null;
    this.known.set(value, { described, fields: walk.fields });
    return described;
  }

  private idOf(text: string): number {
    let id = this.ids.get(text);
    if (id === undefined) {
      if (this.ids.size >= MOST) this.ids.clear(); // later values like the forgotten ones get new numbers
      this.ids.set(text, (id = this.numbers++));
    }
    return id;
  }
}

class Walk {
  readonly words: (string | number)[] = [];
  readonly tensors: Tensor[] = [];
  readonly apart: number[] = [];
  readonly fields: Field[] = [];
  private readonly how: Describing;
  private readonly classes: Map<unknown, number>;

  constructor(how: Describing, classes: Map<unknown, number>) {
    this.how = how;
    this.classes = classes;
  }

  /** @returns false: the value cannot be described */
  visit(value: unknown, depth: number): boolean {
    const { words, classes } = this;
    if (value === undefined || value === null) words.push("0");
    else if (typeof value === "number" || typeof value === "boolean") words.push(String(value));
    else if (typeof value === "string") words.push(JSON.stringify(value));
    else if (typeof value !== "object" || depth > DEEPEST) return false;
    else if ("buffer" in value && "block" in value) this.tensor(value as Tensor);
    else {
      const made = value.constructor;
      if (!classes.has(made)) classes.set(made, classes.size);
      words.push(`{${classes.get(made)}`);
      for (const name of Object.keys(value)) if (!this.field(value, name, depth)) return false;
      words.push("}");
    }
    return true;
  }

  private field(of: object, name: string, depth: number): boolean {
    const { apart, mutable } = this.how;
    const value = (of as Record<string, unknown>)[name];
    if (mutable?.includes(name)) this.fields.push({ of, name, value });
    this.words.push(`${name}:`);
    if (!apart?.(of, name)) return this.visit(value, depth + 1);
    if (typeof value === "number") this.apart.push(value);
    return true;
  }

  private tensor(tensor: Tensor): void {
    const { dtype, shape } = tensor;
    let at = this.tensors.indexOf(tensor);
    if (at < 0) at = this.tensors.push(tensor) - 1;
    this.words.push(`#${at}${dtype}[${shape}]`);
  }
}
