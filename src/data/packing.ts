import { DataError } from "../errors.ts";
import type { RowImage } from "./row-error.ts";

/**
 * TRL's `packing_strategy`: best-fit decreasing that truncates or splits long rows, or one long stream split into
 * blocks.
 */
export type PackingStrategy = "bfd" | "bfd_split" | "wrapped";

/** Tokens `[start, end)` of row `row`. */
interface Piece {
  row: number;
  start: number;
  end: number;
}

/**
 * Packs rows of the given lengths into bins of at most `max_length` tokens.
 *
 * - `bfd`: longest first, each into the fullest bin with enough room (of equally full bins, the one that reached that
 *   level first); rows longer than `max_length` are truncated.
 * - `bfd_split`: the same, after splitting long rows into pieces of `max_length`.
 * - `wrapped`: rows in order as one stream, split every `max_length` tokens; rows can span bins.
 *
 * The result depends only on the lengths; equal lengths keep their order. O(n log max_length).
 *
 * @param lengths tokens of each row; empty rows are skipped
 * @returns bins of pieces, in order of creation
 * @throws {DataError} a length that is not a whole number, or `max_length` below 1
 * @see Ding et al. 2024, arXiv:2404.10830 (best-fit packing)
 */
export function pack(
  lengths: readonly number[],
  options: { max_length: number; strategy?: PackingStrategy },
): Piece[][] {
  const { max_length, strategy = "bfd" } = options;
  if (!Number.isInteger(max_length) || max_length < 1) {
    throw new DataError(`Packing needs a max_length of at least 1 token, not ${max_length}`);
  }
  const wrong = lengths.findIndex((n) => !Number.isInteger(n) || n < 0);
  if (wrong >= 0) throw new DataError(`Cannot pack row ${wrong + 1}: its length is ${lengths[wrong]}`);
  if (strategy === "wrapped") return packWrapped(lengths, max_length);

  const pieces: Piece[] = [];
  for (const [row, length] of lengths.entries()) {
    const last = strategy === "bfd_split" ? length : Math.min(length, max_length);
    for (let start = 0; start < last; start += max_length) {
      pieces.push({ row, start, end: Math.min(start + max_length, last) });
    }
  }
  pieces.sort((a, b) => b.end - b.start - (a.end - a.start));

  const bins: Piece[][] = [];
  const withRoom = Array.from({ length: max_length + 1 }, () => ({ bins: [] as number[], taken: 0 }));
  const rooms = new RoomTree(max_length);
  for (const piece of pieces) {
    const length = piece.end - piece.start;
    let room = rooms.atLeast(length);
    let bin: number;
    if (room < 0) {
      room = max_length;
      bin = bins.push([]) - 1;
    } else {
      const waiting = withRoom[room]!;
      bin = waiting.bins[waiting.taken++]!;
      if (waiting.taken === waiting.bins.length) rooms.set(room, false);
    }
    bins[bin]!.push(piece);
    const left = room - length;
    if (left > 0) {
      withRoom[left]!.bins.push(bin);
      rooms.set(left, true);
    }
  }
  return bins;
}

function packWrapped(lengths: readonly number[], max_length: number): Piece[][] {
  const bins: Piece[][] = [];
  let room = 0;
  for (const [row, length] of lengths.entries()) {
    for (let start = 0; start < length; ) {
      if (room === 0) {
        bins.push([]);
        room = max_length;
      }
      const end = Math.min(length, start + room);
      bins.at(-1)!.push({ row, start, end });
      room -= end - start;
      start = end;
    }
  }
  return bins;
}

/** The set of remaining capacities of bins; finds the smallest sufficient capacity in O(log size). */
class RoomTree {
  private readonly leaves: number;
  private readonly any: Uint8Array;

  constructor(max: number) {
    this.leaves = 2 ** Math.ceil(Math.log2(max + 1));
    this.any = new Uint8Array(2 * this.leaves);
  }

  set(room: number, present: boolean): void {
    let node = this.leaves + room;
    this.any[node] = present ? 1 : 0;
    for (node >>= 1; node >= 1; node >>= 1) this.any[node] = this.any[2 * node]! | this.any[2 * node + 1]!;
  }

  /** The smallest room ≥ `length`, or −1. */
  atLeast(length: number): number {
    let node = this.leaves + length;
    if (this.any[node]) return length;
    // Go up until a right neighbour is not empty, then down its left edge.
    while (node > 1 && (node & 1 || !this.any[node + 1])) node >>= 1;
    if (node <= 1) return -1;
    node++;
    while (node < this.leaves) node = this.any[2 * node] ? 2 * node : 2 * node + 1;
    return node - this.leaves;
  }
}

/** Token ids and labels of equal length. */
interface LabelledRow {
  input_ids: ArrayLike<number>;
  labels: ArrayLike<number>;
  images?: readonly RowImage[];
}

/**
 * Packs rows and slices them accordingly.
 *
 * @returns the sequences of each bin. With `bfd` and `bfd_split`, rows stay separate sequences (attention does not
 *   cross
 *   them); a bin of `wrapped` is one sequence, as in TRL.
 */
export function packRows(
  rows: readonly LabelledRow[],
  options: { max_length: number; strategy?: PackingStrategy },
): LabelledRow[][] {
  if (rows.some(({ images }) => images)) {
    throw new DataError("Cannot pack rows with images: a bin could cut one; set packing: false");
  }
  const bins = pack(
    rows.map((row) => row.input_ids.length),
    options,
  );
  const cut = (values: ArrayLike<number>, { start, end }: Piece): ArrayLike<number> =>
    start === 0 && end === values.length
      ? values
      : Int32Array.from({ length: end - start }, (_, i) => values[start + i]);
  return bins.map((bin) => {
    const sequences = bin.map((piece) => ({
      input_ids: cut(rows[piece.row]!.input_ids, piece),
      labels: cut(rows[piece.row]!.labels, piece),
    }));
    if (options.strategy !== "wrapped") return sequences;
    const joined = (name: "input_ids" | "labels") => Int32Array.from(sequences.flatMap((s) => Array.from(s[name])));
    return [{ input_ids: joined("input_ids"), labels: joined("labels") }];
  });
}

/** Sequences concatenated without padding. */
export interface PackedBatch {
  /** `[tokens]` */
  input_ids: Int32Array;
  /** `[tokens]`, from 0 in each sequence */
  position_ids: Int32Array;
  /** `[sequences + 1]` starts of the sequences, then the number of tokens */
  cu_seqlens: Int32Array;
  /**
   * `[tokens]` unshifted: `labels[i]` is the target of the prediction at `i − 1`; −100 for no target, and always at a
   * sequence's first token
   */
  labels: Int32Array;
  /** images in the order of their tokens, whose features are elsewhere; absent: none */
  row_images?: readonly RowImage[];
}

/**
 * Concatenates sequences.
 *
 * @throws {DataError} no sequences, an empty sequence, or labels of another length
 */
export function makeBatch(rows: readonly LabelledRow[]): PackedBatch {
  if (rows.length === 0) throw new DataError("Cannot make a batch: there are no rows");
  const cu_seqlens = new Int32Array(rows.length + 1);
  for (const [i, row] of rows.entries()) {
    const length = row.input_ids.length;
    if (length === 0 || row.labels.length !== length) {
      throw new DataError(
        `Cannot batch row ${i + 1}: it has ${length} input_ids and ${row.labels.length} labels; the numbers must be equal and at least 1`,
      );
    }
    cu_seqlens[i + 1] = cu_seqlens[i]! + length;
  }
  const tokens = cu_seqlens[rows.length]!;
  const input_ids = new Int32Array(tokens);
  const position_ids = new Int32Array(tokens);
  const labels = new Int32Array(tokens);
  for (const [i, row] of rows.entries()) {
    const start = cu_seqlens[i]!;
    input_ids.set(row.input_ids, start);
    labels.set(row.labels, start);
    // The previous sequence would predict it.
    labels[start] = -100;
    for (let p = 0; p < row.input_ids.length; p++) position_ids[start + p] = p;
  }
  const row_images = rows.flatMap(({ images = [] }) => images);
  return { input_ids, position_ids, cu_seqlens, labels, ...(row_images.length > 0 && { row_images }) };
}
