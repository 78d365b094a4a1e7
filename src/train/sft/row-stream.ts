import { refuseImages } from "../../data/images/rows.ts";
import type { RowSource } from "../../data/paced-rows.ts";
import { type PackingStrategy, packRows } from "../../data/packing.ts";
import type { NumberedRow } from "../../data/row-error.ts";
import { NoteCounter } from "../../data/row-notes.ts";
import { epochOrder } from "../../data/sampler.ts";
import { countScored, type TokenizedRow, type TokenizeOptions, tokenizeRow } from "../../data/tokenize.ts";
import { DataError, FormatError } from "../../errors.ts";
import type { Folder } from "../../io/storage.ts";
import { parseBoundedJson } from "../../text/bounded-json.ts";
import { fnvNext, fnvNumbers } from "../../text/hash.ts";
import type { ExtraFile } from "../checkpoint.ts";
import { mixSeed } from "../seed.ts";

/** Fields of a recipe that decide how streamed rows become examples, by TRL's names. */
interface StreamOptions {
  packing: boolean;
  packing_strategy: PackingStrategy;
  max_length: number | null;
  shuffle_dataset: boolean;
  seed: number;
  data_seed: number | null;
}

/** Streamed rows of a run. */
export interface StreamedRows {
  /** each iteration begins anew */
  rows: RowSource;
  tokenize: TokenizeOptions;
  options: StreamOptions;
  /** a number that changes with the first rows and with how rows become examples */
  fingerprint: number;
  /** warnings and notes about the first rows */
  notes: string[];
}

/** Where a stream is: the rows of its window begin at `row` of an epoch, and `used` of their examples were trained on. */
interface StreamPlace {
  epoch: number;
  /** rows read before the window, from 0, those without labels included */
  row: number;
  used: number;
}

/** Rows that are packed or shuffled together: datasets' batch and buffer have as many. */
const WINDOW = 1000;
/** Rows whose tokens identify the data. */
const IDENTIFYING = 32;

/** Why streamed rows may have no images: memory is forecast from the largest, which a stream does not know. */
const STREAMED =
  "streamed rows may have none: set dataset_streaming: false (streaming: false, of datasets), which reads the headers of all images first";

const STREAM_FILE = "row_stream.json";

/**
 * Rows that are read and tokenised when steps need them, in their order, epoch after epoch. Holds one window of rows:
 * 1000 rows if they are packed or shuffled, else one. Its place is three numbers, from which a resumed run goes on with
 * the same examples.
 */
export class RowStream {
  private readonly rows: RowSource;
  private readonly tokenize: TokenizeOptions;
  private readonly options: StreamOptions;
  private readonly window: number;
  private place: StreamPlace = { epoch: 0, row: 0, used: 0 };
  private examples: readonly (readonly TokenizedRow[])[] | null = null;
  /** rows read for the window */
  private taken = 0;
  private source: AsyncIterator<NumberedRow> | Iterator<NumberedRow> | null = null;
  /** rows of the epoch that had a label */
  private usable = 0;

  constructor({ rows, tokenize, options }: StreamedRows) {
    this.rows = rows;
    this.tokenize = tokenize;
    this.options = options;
    this.window = options.packing || options.shuffle_dataset ? WINDOW : 1;
  }

  /**
   * The next `count` examples. Reads on from the beginning after the last row.
   *
   * @throws {DataError} an invalid row, or rows without any label
   */
  async next(count: number, signal?: AbortSignal): Promise<(readonly TokenizedRow[])[]> {
    const out: (readonly TokenizedRow[])[] = [];
    while (out.length < count) {
      signal?.throwIfAborted();
      if (this.examples === null) await this.fill();
      const { examples, place } = this;
      if (examples !== null && place.used < examples.length) out.push(examples[place.used++]);
      else this.advance();
    }
    return out;
  }

  /** Where the next example is. */
  get here(): StreamPlace {
    return { ...this.place };
  }

  /** Goes on from another place. */
  go(place: StreamPlace): void {
    this.place = { ...place };
    this.examples = null;
    this.source = null;
    this.taken = 0;
    this.usable = place.row; // not counted again: only an epoch without any label needs it
  }

  /** Its place, as a checkpoint's file. */
  file(): ExtraFile {
    return { name: STREAM_FILE, text: `${JSON.stringify(this.place)}\n` };
  }

  /** Reads the window's rows. Leaves null if there are none left, and the next epoch has begun. */
  private async fill(): Promise<void> {
    const { place } = this;
    if (this.source === null) {
      this.source = iteratorOf(this.rows);
      for (let skipped = 0; skipped < place.row; skipped++) {
        if ((await this.source.next()).done) {
          throw new DataError(`Cannot go on after row ${place.row}: the data set has only ${skipped} rows`);
        }
      }
    }
    const rows: TokenizedRow[] = [];
    for (this.taken = 0; this.taken < this.window; this.taken++) {
      const { done, value } = await this.source.next();
      if (done) break;
      const { input_ids, labels } = tokenizeRow(refuseImages(value, STREAMED), this.tokenize);
      if (countScored(labels) > 0)
        rows.push({ input_ids: Int32Array.from(input_ids), labels: Int32Array.from(labels) });
    }
    this.usable += rows.length;
    if (this.taken > 0) {
      this.examples = this.arranged(rows);
      return;
    }
    if (this.usable === 0) {
      throw new DataError(
        place.row === 0 ? "The data set has no rows" : `None of the ${place.row} rows has a label within max_length`,
      );
    }
    this.place = { epoch: place.epoch + 1, row: 0, used: 0 };
    this.source = null;
    this.usable = 0;
  }

  private arranged(rows: readonly TokenizedRow[]): (readonly TokenizedRow[])[] {
    const { shuffle_dataset, packing, packing_strategy: strategy, max_length, data_seed, seed } = this.options;
    const { epoch, row } = this.place;
    const order = shuffle_dataset ? epochOrder(rows.length, epoch, mixSeed(data_seed ?? seed, 7, row)) : null;
    const shuffled = order ? [...order].map((i) => rows[i]) : rows;
    return packing ? packRows(shuffled, { max_length: max_length!, strategy }) : shuffled.map((one) => [one]);
  }

  private advance(): void {
    if (this.examples === null) return; // the next epoch has begun
    this.place = { ...this.place, row: this.place.row + this.taken, used: 0 };
    this.examples = null;
  }
}

const iteratorOf = (rows: RowSource) =>
  Symbol.asyncIterator in rows ? rows[Symbol.asyncIterator]() : rows[Symbol.iterator]();

/**
 * Reads the first rows of a stream.
 *
 * @throws {DataError} an invalid row, no rows, or rows that can be iterated only once
 */
export async function openStream(
  rows: RowSource,
  tokenize: TokenizeOptions,
  options: StreamOptions,
): Promise<StreamedRows> {
  if ((iteratorOf(rows) as unknown) === rows) {
    throw new DataError("Cannot stream these rows: they can be read only once, and each epoch reads them again");
  }
  const { packing, packing_strategy, shuffle_dataset, max_length } = options;
  const how = `${packing} ${packing_strategy} ${shuffle_dataset} ${max_length}`;
  let fingerprint = fnvNumbers(new TextEncoder().encode(how));
  const told = new NoteCounter();
  const notes: string[] = [];
  let read = 0;
  for await (const source of rows) {
    const { input_ids, labels, warning, notes: own } = tokenizeRow(refuseImages(source, STREAMED), tokenize);
    fingerprint = fnvNumbers(labels, fnvNumbers(input_ids, fnvNext(fingerprint, input_ids.length)));
    told.add(own);
    if (warning) notes.push(warning);
    if (++read === IDENTIFYING) break;
  }
  if (read === 0) throw new DataError("The data set has no rows");
  return { rows, tokenize, options, fingerprint: fingerprint >>> 0, notes: [...notes, ...told.texts()] };
}

/** The place in a checkpoint. @throws {FormatError} */
export async function readPlace(checkpoint: Folder): Promise<StreamPlace> {
  const where = `${checkpoint.path}/${STREAM_FILE}`;
  let place: StreamPlace;
  try {
    place = parseBoundedJson(await checkpoint.readText(STREAM_FILE)) as StreamPlace;
  } catch (error) {
    throw new FormatError(`Cannot read ${where}: ${(error as Error).message}`);
  }
  const whole = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
  if (![place?.epoch, place?.row, place?.used].every(whole)) {
    throw new FormatError(`Cannot read ${where}: it must hold epoch, row and used as whole numbers`);
  }
  return place;
}
