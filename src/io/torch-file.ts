import { unzipSync } from "fflate";
import { FormatError, UnsupportedError } from "../errors.ts";
import { oneLine } from "../text/show.ts";
import { checkZip } from "../text/zip-check.ts";
import type { Dtype } from "./safetensors.ts";

/** A tensor of a `torch.save` file. */
interface TorchTensor {
  dtype: Dtype;
  shape: readonly number[];
  /** little-endian, rows first */
  data: Uint8Array;
}

/** The only names that a pickle may use. A pickle is never executed. */
const STORAGES: Readonly<Record<string, Dtype>> = {
  "torch FloatStorage": "F32",
  "torch HalfStorage": "F16",
  "torch BFloat16Storage": "BF16",
};
const BYTES: Partial<Record<Dtype, number>> = { F32: 4, F16: 2, BF16: 2 };
/** Most elements of all values in a pickle. */
const MOST_VALUES = 2_000_000;

class Global {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

interface Storage {
  dtype: Dtype;
  key: string;
  size: number;
}

/**
 * The tensors of a `.bin` or `.pth` file: a zip of a pickle and its storages. The pickle is parsed as data, with only
 * the operations that a dictionary of tensors needs.
 *
 * @param bytes the whole file
 * @throws {FormatError} a file that is damaged or not a zip
 * @throws {UnsupportedError} a pickle with more than tensors of f32, f16 and bf16
 * @see torch/serialization.py; Python's pickletools
 */
export function readTorchFile(bytes: Uint8Array, name: string): Map<string, TorchTensor> {
  let files: Record<string, Uint8Array>;
  try {
    checkZip(bytes);
    // torch does not compress storages: an archive that expands is not torch's
    files = unzipSync(bytes, { filter: ({ originalSize, size }) => originalSize <= 2 * size + 65_536 });
  } catch (error) {
    throw new FormatError(`Cannot read ${name}: it is not a zip file of torch.save (${(error as Error).message})`);
  }
  const pickle = Object.keys(files).find((path) => path.endsWith("/data.pkl"));
  if (!pickle) throw new FormatError(`Cannot read ${name}: it has no data.pkl, which torch.save writes`);
  const folder = pickle.slice(0, -"data.pkl".length);
  if (files[`${folder}byteorder`] && new TextDecoder().decode(files[`${folder}byteorder`]).trim() === "big") {
    throw new UnsupportedError(`Cannot read ${name}: its numbers are big-endian`);
  }
  const value = new Unpickler(files[pickle], name).read();
  if (!(value instanceof Map)) throw new UnsupportedError(`Cannot read ${name}: it is not a dictionary of tensors`);
  const tensors = new Map<string, TorchTensor>();
  for (const [key, tensor] of value) {
    if (typeof key !== "string" || !isView(tensor)) {
      throw new UnsupportedError(`Cannot read ${name}: its entry ${oneLine(key)} is not a tensor`);
    }
    tensors.set(key, cut(tensor, files, folder, `${key} in ${name}`));
  }
  return tensors;
}

/** A tensor as a view of a storage. */
interface View {
  storage: Storage;
  offset: number;
  shape: number[];
  strides: number[];
}

const isView = (value: unknown): value is View => typeof value === "object" && value !== null && "storage" in value;

function cut(
  { storage, offset, shape, strides }: View,
  files: Record<string, Uint8Array>,
  folder: string,
  what: string,
): TorchTensor {
  const { dtype, key } = storage;
  const data = files[`${folder}data/${key}`];
  const width = BYTES[dtype]!;
  const count = shape.reduce((product, extent) => product * extent, 1);
  const expected = shape.map((_, i) => shape.slice(i + 1).reduce((product, extent) => product * extent, 1));
  if (strides.some((stride, i) => shape[i] > 1 && stride !== expected[i])) {
    throw new UnsupportedError(`Cannot read ${what}: its elements are not in order (strides ${strides})`);
  }
  const end = (offset + count) * width;
  if (!data || !(offset >= 0) || end > data.length) {
    throw new FormatError(
      `Cannot read ${what}: it needs ${end} bytes of storage ${key}, which has ${data?.length ?? 0}`,
    );
  }
  return { dtype, shape, data: data.slice(offset * width, end) };
}

const MARK = Symbol("mark");

class Unpickler {
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly where: string;
  private readonly stack: unknown[] = [];
  private readonly memo = new Map<number, unknown>();
  private at = 0;
  private made = 0;

  constructor(bytes: Uint8Array, where: string) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.where = where;
  }

  read(): unknown {
    while (this.at < this.bytes.length) {
      const operation = this.bytes[this.at++];
      if (operation === 0x2e) return this.pop(); // STOP
      this.step(operation);
      if (this.stack.length > MOST_VALUES || ++this.made > MOST_VALUES) this.refuse("its pickle has too many values");
    }
    throw new FormatError(`Cannot read ${this.where}: its pickle ends early`);
  }

  private step(operation: number): void {
    const { stack } = this;
    switch (String.fromCharCode(operation)) {
      case "\x80": // PROTO
        this.take(1);
        return;
      case "\x95": // FRAME
        this.take(8);
        return;
      case "(":
        stack.push(MARK);
        return;
      case "c":
        stack.push(this.global(this.line(), this.line()));
        return;
      case "\x93": {
        const [module, name] = [stack.at(-2), this.pop()];
        stack.pop();
        stack.push(this.global(String(module), String(name)));
        return;
      }
      case "q":
        this.memo.set(this.take(1).getUint8(0), stack.at(-1));
        return;
      case "r":
        this.memo.set(this.take(4).getUint32(0, true), stack.at(-1));
        return;
      case "\x94":
        this.memo.set(this.memo.size, stack.at(-1));
        return;
      case "h":
        stack.push(this.memo.get(this.take(1).getUint8(0)));
        return;
      case "j":
        stack.push(this.memo.get(this.take(4).getUint32(0, true)));
        return;
      case "N":
        stack.push(null);
        return;
      case "\x88":
      case "\x89":
        stack.push(operation === 0x88);
        return;
      case "X":
        stack.push(this.text(this.take(4).getUint32(0, true)));
        return;
      case "\x8c":
        stack.push(this.text(this.take(1).getUint8(0)));
        return;
      default:
        this.stepOn(operation);
    }
  }

  /** Numbers, collections, and the two calls that create tensors. */
  private stepOn(operation: number): void {
    const { stack } = this;
    switch (String.fromCharCode(operation)) {
      case "K":
        stack.push(this.take(1).getUint8(0));
        return;
      case "M":
        stack.push(this.take(2).getUint16(0, true));
        return;
      case "J":
        stack.push(this.take(4).getInt32(0, true));
        return;
      case "G":
        stack.push(this.take(8).getFloat64(0));
        return;
      case "\x8a": {
        const length = this.take(1).getUint8(0);
        const digits = this.take(length);
        let value = 0;
        for (let i = length - 1; i >= 0; i--) value = value * 256 + digits.getUint8(i);
        stack.push(value);
        return;
      }
      case ")":
      case "]":
        stack.push([]);
        return;
      case "}":
        stack.push(new Map());
        return;
      case "t":
        stack.push(this.marked());
        return;
      case "\x85":
      case "\x86":
      case "\x87":
        stack.push(stack.splice(-(operation - 0x84)));
        return;
      case "e": {
        const items = this.marked();
        (stack.at(-1) as unknown[]).push(...items);
        return;
      }
      case "u": {
        const items = this.marked();
        for (let i = 0; i + 1 < items.length; i += 2) this.map().set(items[i], items[i + 1]);
        return;
      }
      case "s": {
        const value = this.pop();
        const key = this.pop();
        this.map().set(key, value);
        return;
      }
      case "Q":
        stack.push(this.storage(this.pop()));
        return;
      case "R": {
        const args = this.pop() as unknown[];
        stack.push(this.call(this.pop(), args));
        return;
      }
      case "b": // BUILD: torch's additions to a dictionary, such as _metadata
        this.pop();
        return;
      default:
        this.refuse(`its pickle uses operation 0x${operation.toString(16)}`);
    }
  }

  private global(module: string, name: string): Global {
    const known = [
      "collections OrderedDict",
      "torch._utils _rebuild_tensor_v2",
      "torch._utils _rebuild_parameter",
      ...Object.keys(STORAGES),
    ];
    const full = `${module} ${name}`;
    if (!known.includes(full)) this.refuse(`its pickle asks for ${oneLine(`${module}.${name}`)}`);
    return new Global(full);
  }

  private storage(id: unknown): Storage {
    const [kind, type, key, , size] = (Array.isArray(id) ? id : []) as unknown[];
    const dtype = type instanceof Global ? STORAGES[type.name] : undefined;
    if (kind !== "storage" || !dtype || typeof key !== "string" || typeof size !== "number") {
      return this.refuse(`one of its storages is ${type instanceof Global ? type.name : "of an unknown type"}`);
    }
    return { dtype, key, size };
  }

  private call(what: unknown, args: unknown[]): unknown {
    const name = what instanceof Global ? what.name : "";
    if (name === "collections OrderedDict") return new Map();
    if (name === "torch._utils _rebuild_parameter") return args?.[0];
    if (name !== "torch._utils _rebuild_tensor_v2")
      return this.refuse("its pickle calls a function that does not create a tensor");
    const [storage, offset, shape, strides] = args ?? [];
    const numbers = (list: unknown) => Array.isArray(list) && list.every((n) => Number.isSafeInteger(n) && n >= 0);
    if (!(storage as Storage)?.dtype || !numbers(shape) || !numbers(strides) || typeof offset !== "number") {
      return this.refuse("one of its tensors is damaged");
    }
    return { storage, offset, shape, strides };
  }

  private map(): Map<unknown, unknown> {
    const top = this.stack.at(-1);
    return top instanceof Map ? top : this.refuse("its pickle is damaged");
  }

  private marked(): unknown[] {
    const from = this.stack.lastIndexOf(MARK);
    if (from < 0) return this.refuse("its pickle is damaged");
    const items = this.stack.splice(from + 1);
    this.stack.pop();
    return items;
  }

  private pop(): unknown {
    if (this.stack.length === 0) return this.refuse("its pickle is damaged");
    return this.stack.pop();
  }

  private take(count: number): DataView {
    if (this.at + count > this.bytes.length) throw new FormatError(`Cannot read ${this.where}: its pickle ends early`);
    const part = new DataView(this.view.buffer, this.view.byteOffset + this.at, count);
    this.at += count;
    return part;
  }

  private text(length: number): string {
    const part = this.take(length);
    return new TextDecoder().decode(new Uint8Array(part.buffer, part.byteOffset, length));
  }

  private line(): string {
    const end = this.bytes.indexOf(0x0a, this.at);
    if (end < 0) throw new FormatError(`Cannot read ${this.where}: its pickle ends early`);
    const text = this.text(end - this.at);
    this.at++;
    return text;
  }

  private refuse(why: string): never {
    throw new UnsupportedError(
      `Cannot read ${this.where}: ${why}. Qwench reads only tensors of float32, float16 and bfloat16; save it as safetensors`,
    );
  }
}
