import { MemoryError, ShapeError } from "../errors.ts";
import type { Params } from "./params.ts";
import type { Program } from "./program.ts";
import { isTextureLayout } from "./storage.ts";
import type { Tensor } from "./tensor.ts";

/** Workgroups: a count (folded over x and y above 65 535), or a grid. */
export type Grid = number | readonly [number, number, number?];

/**
 * Parameters by name as the words of the kernel's `struct Params`, in the program's own memory, valid until the next
 * dispatch; null if there is none.
 *
 * @throws {ShapeError} a parameter is missing
 */
export function packParams(program: Program, params: Record<string, number>): Params | null {
  const { packed, params: fields } = program;
  if (!packed) return null;
  for (let i = 0; i < fields.length; i++) {
    const { name, type } = fields[i];
    const value = params[name];
    if (value === undefined) throw new ShapeError(`Cannot dispatch ${program.name}: parameter ${name} is missing`);
    setParam(packed.words, i, type, value);
  }
  packed.era = -1;
  return packed;
}

const FLOAT = new Float32Array(1);
const BITS = new Uint32Array(FLOAT.buffer);

/** Writes one parameter. */
export function setParam(words: Uint32Array, at: number, type: "u32" | "i32" | "f32", value: number): void {
  if (type === "f32") {
    FLOAT[0] = value;
    words[at] = BITS[0];
  } else words[at] = value;
}

/** The grid to dispatch. @param limit workgroups in one dimension */
export function fold(grid: Grid, limit: number, name: string): readonly [number, number, number] {
  if (typeof grid === "number") {
    if (grid <= limit) return [grid, 1, 1];
    const y = Math.ceil(grid / limit);
    return [Math.ceil(grid / y), y, 1];
  }
  const [x, y, z = 1] = grid;
  if (x > limit || y > limit || z > limit) {
    throw new ShapeError(
      `Cannot dispatch ${name} over [${x},${y},${z}] workgroups: each dimension must be at most ${limit}`,
    );
  }
  return [x, y, z];
}

/**
 * @param limit the device's maxStorageBufferBindingSize
 * @throws {MemoryError} a binding above the limit
 * @throws {ShapeError} an unknown name; a buffer bound both for reading and writing
 */
export function checkBindings(program: Program, bindings: Record<string, Tensor>, limit: number): void {
  for (const { name, kind } of program.storage) {
    const tensor = bindings[name];
    if (tensor.bytes > limit && !isTextureLayout(kind)) {
      throw new MemoryError(
        `Cannot bind ${tensor.label} [${tensor.shape}] to ${program.name}: ${tensor.bytes} bytes exceed maxStorageBufferBindingSize of ${limit}`,
      );
    }
    if (kind !== "write") continue;
    const other = program.storage.find(
      (b) =>
        b.name !== name &&
        bindings[b.name].buffer === tensor.buffer &&
        (b.kind === "read" || overlap(bindings[b.name], tensor)),
    );
    if (other) {
      throw new ShapeError(
        `Cannot dispatch ${program.name}: ${name} (${tensor.label}) is written and shares its buffer with ${other.name} (${bindings[other.name].label})`,
      );
    }
  }
  const unknown = Object.keys(bindings).find((name) => !program.storage.some((b) => b.name === name));
  if (unknown) throw new ShapeError(`Cannot dispatch ${program.name}: it has no binding ${unknown}`);
}

function overlap(a: Tensor, b: Tensor): boolean {
  return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}
