import { concat } from "../memory-folder.ts";
import { crc32c } from "./crc.ts";
import { type TrackedLog, trackedValues } from "./names.ts";
import { double, type Encoded, float, integer, message, text } from "./protobuf.ts";

// TensorBoard's event files: records of TFRecord, each an Event of tensorflow/core/util/event.proto.

const DT_STRING = 7;
const SESSION_START = 1;

/** The file's name, as TensorBoard looks for it. @param time milliseconds since 1970 */
export function eventFileName(time: number, host: string, process: string): string {
  return `events.out.tfevents.${Math.floor(time / 1000)}.${host.replace(/[^\w.-]/g, "-")}.${process}.0`;
}

/**
 * The first records of an event file: its version, where the run goes on, and the recipe as text.
 *
 * @param step the step that the run goes on from: TensorBoard drops what earlier files of the folder hold after it
 * @param time milliseconds since 1970
 */
export function eventFileHead(step: number, recipe: string, time: number): Uint8Array {
  // Markdown that is indented by four spaces is shown as it is.
  const shown = recipe.replace(/^/gm, "    ");
  const string = message(8, integer(1, DT_STRING), message(2, message(2, integer(1, 1))), text(8, shown));
  const asText = message(9, message(1, text(1, "text")));
  return concat([
    event(time, 0, text(3, "brain.Event:2")),
    event(time, step + 1, message(7, integer(1, SESSION_START))),
    event(time, step, message(5, message(1, text(1, "recipe/text_summary"), asText, string))),
  ]);
}

/** The record of a log: a scalar a number. @param time milliseconds since 1970 */
export function logEvent(log: TrackedLog, time: number): Uint8Array {
  const scalars = trackedValues(log).map(([name, value]) => message(1, text(1, name), float(2, value)));
  return event(time, log.step, message(5, ...scalars));
}

function event(time: number, step: number, what: Encoded): Uint8Array {
  return record(concat([double(1, time / 1000), integer(2, step), what]));
}

function record(data: Uint8Array): Uint8Array {
  const length = new Uint8Array(8);
  new DataView(length.buffer).setUint32(0, data.length, true);
  return concat([length, masked(length), data, masked(data)]);
}

function masked(bytes: Uint8Array): Uint8Array {
  const crc = crc32c(bytes);
  const rotated = ((crc >>> 15) | (crc << 17)) >>> 0;
  const out = new Uint8Array(4);
  new DataView(out.buffer).setUint32(0, (rotated + 0xa282ead8) >>> 0, true);
  return out;
}
