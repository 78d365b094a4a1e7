/** A node in a tree of fields and values. */
class Branch<T> {
  leaf: T | null = null;
  private key: string | null = null;
  private readonly values = new Map<unknown, Branch<T>>();
  private others: Map<string, Branch<T>> | null = null;

  field(key: string): Branch<T> {
    if (this.key === key) return this;
    if (this.key === null) {
      this.key = key;
      return this;
    }
    this.others ??= new Map();
    let branch = this.others.get(key);
    if (!branch) this.others.set(key, (branch = new Branch()));
    return branch;
  }

  value(value: unknown): Branch<T> {
    let branch = this.values.get(value);
    if (!branch) this.values.set(value, (branch = new Branch()));
    return branch;
  }
}

/** Marks for the beginning and end of a nested object. */
const BEGIN = Symbol("begin");
const END = Symbol("end");

/**
 * Maps an object to a value by its fields, in their order, without building a string: a look-up per dispatch costs only
 * a few Map look-ups. Values are compared like keys of a Map; undefined counts as absent.
 */
export class VariantTree<T> {
  private readonly root = new Branch<T>();

  get(of: object): T | null {
    return walk(this.root, of).leaf;
  }

  set(of: object, value: T): void {
    walk(this.root, of).leaf = value;
  }
}

function walk<T>(from: Branch<T>, of: object): Branch<T> {
  let branch = from;
  for (const key in of) {
    const value = (of as Record<string, unknown>)[key];
    if (value === undefined) continue;
    branch = branch.field(key);
    if (value !== null && typeof value === "object") branch = walk(branch.value(BEGIN), value).field("").value(END);
    else branch = branch.value(value);
  }
  return branch;
}
