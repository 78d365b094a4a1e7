import { concat } from "../memory-folder.ts";
import { crc32 } from "./crc.ts";
import { type TrackedLog, trackedValues } from "./names.ts";
import { type Encoded, integer, message, text } from "./protobuf.ts";

// The offline runs of Weights & Biases: records of wandb/proto/wandb_internal.proto in LevelDB's log format, which
// `wandb sync` reads. Sources: github.com/wandb/wandb, core/internal/transactionlog; leveldb/doc/log_format.md.

const BLOCK = 32768;
const HEADER = 7;
const [FULL, FIRST, MIDDLE, LAST] = [1, 2, 3, 4];

/** What a run is called, and what it was told. */
interface WandbRun {
  /** eight letters or digits */
  id: string;
  project: string;
  name: string;
  /** milliseconds since 1970 */
  started: number;
  host: string;
  config: Readonly<Record<string, unknown>>;
}

/** The folder of an offline run and its file, as wandb names them. */
export function wandbRunNames({ id, started }: Pick<WandbRun, "id" | "started">): { folder: string; file: string } {
  const [date, time] = new Date(started).toISOString().split("T");
  return {
    folder: `offline-run-${date.replaceAll("-", "")}_${time.slice(0, 8).replaceAll(":", "")}-${id}`,
    file: `run-${id}.wandb`,
  };
}

/** Encodes a run's records one after the other; what each call returns is appended to the file. */
export class WandbLog {
  private readonly run: WandbRun;
  private written = 0;
  private number = 0;
  private readonly summary = new Map<string, number>();

  constructor(run: WandbRun) {
    this.run = run;
  }

  /** The begin of the file: its mark, the version, the run. */
  head(): Uint8Array {
    const { id, project, name, host, started, config } = this.run;
    const mark = Uint8Array.from([...new TextEncoder().encode(":W&B"), 0xe1, 0xbe, 0]);
    this.written = mark.length;
    const items = Object.entries(config).map(([key, value]) => message(1, text(1, key), jsonOf(value)));
    const seconds = Math.floor(started / 1000);
    return concat([
      mark,
      this.record(21, message(1, text(1, "0.30.0"), text(2, "0.13.0"))),
      this.record(
        17,
        text(1, id),
        text(3, project),
        message(4, ...items),
        text(8, name),
        text(13, host),
        message(17, integer(1, seconds)),
      ),
    ]);
  }

  /** A log. @param time milliseconds since 1970 */
  log(log: TrackedLog, time: number): Uint8Array {
    const values = trackedValues(log);
    for (const [name, value] of values) this.summary.set(name, value);
    const more: [string, number][] = [
      ["train/global_step", log.step],
      ["_step", log.step],
      ["_timestamp", time / 1000],
      ["_runtime", (time - this.run.started) / 1000],
    ];
    const items = [...values, ...more].map(([name, value]) => message(1, text(2, name), jsonOf(value)));
    return this.record(2, ...items, message(2, integer(1, log.step)));
  }

  /** The end of a run. @param exit 0 where it finished */
  end(exit: number, time: number): Uint8Array {
    const items = [...this.summary].map(([name, value]) => message(1, text(2, name), jsonOf(value)));
    const runtime = Math.max(0, Math.round((time - this.run.started) / 1000));
    return concat([this.record(3, ...items), this.record(18, integer(1, exit), integer(2, runtime))]);
  }

  /** A Record whose field `kind` holds these fields. */
  private record(kind: number, ...fields: readonly Encoded[]): Uint8Array {
    return this.framed(concat([integer(1, ++this.number), message(kind, ...fields)]));
  }

  /** Cuts a record at the ends of blocks; each piece has a checksum, a length and a kind. */
  private framed(data: Uint8Array): Uint8Array {
    const out: Uint8Array[] = [];
    let rest = data;
    let first = true;
    do {
      let left = BLOCK - (this.written % BLOCK);
      if (left < HEADER) {
        out.push(new Uint8Array(left));
        this.written += left;
        left = BLOCK;
      }
      const piece = rest.subarray(0, left - HEADER);
      rest = rest.subarray(piece.length);
      const kind = rest.length === 0 ? (first ? FULL : LAST) : first ? FIRST : MIDDLE;
      const header = new Uint8Array(HEADER);
      const view = new DataView(header.buffer);
      view.setUint32(0, crc32(concat([Uint8Array.of(kind), piece])), true);
      view.setUint16(4, piece.length, true);
      view.setUint8(6, kind);
      out.push(header, piece);
      this.written += HEADER + piece.length;
      first = false;
    } while (rest.length > 0);
    return concat(out);
  }
}

function jsonOf(value: unknown): Encoded {
  return text(16, JSON.stringify(value) ?? "null");
}
