import { expect, it } from "vitest";
import { concat } from "../../../src/io/memory-folder.ts";
import { crc32, crc32c } from "../../../src/io/trackers/crc.ts";
import { double, float, integer, message, text } from "../../../src/io/trackers/protobuf.ts";
import { eventFileHead, eventFileName, logEvent } from "../../../src/io/trackers/tensorboard.ts";

const bytes = (value: string) => new TextEncoder().encode(value);

it("checksums are those of the published check value", () => {
  expect(crc32c(bytes("123456789"))).toBe(0xe3069283);
  expect(crc32(bytes("123456789"))).toBe(0xcbf43926);
});

it("fields are encoded as protobuf's documentation shows", () => {
  expect([...integer(1, 150)]).toEqual([0x08, 0x96, 0x01]);
  expect([...text(2, "testing")]).toEqual([0x12, 0x07, ...bytes("testing")]);
  expect([...message(3, integer(1, 150))]).toEqual([0x1a, 0x03, 0x08, 0x96, 0x01]);
  expect([...double(1, 1)]).toEqual([0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
  expect([...float(2, 1)]).toEqual([0x15, 0, 0, 0x80, 0x3f]);
  expect([...integer(1, 2 ** 40)]).toEqual([0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20]);
});

/** Cuts a file into its records, and checks what frames them. */
function records(file: Uint8Array): Uint8Array[] {
  const view = new DataView(file.buffer, file.byteOffset);
  const found: Uint8Array[] = [];
  for (let at = 0; at < file.length; ) {
    const length = view.getUint32(at, true);
    expect(view.getUint32(at + 4, true)).toBe(0);
    const data = file.subarray(at + 12, at + 12 + length);
    expect(unmasked(view.getUint32(at + 8, true))).toBe(crc32c(file.subarray(at, at + 8)));
    expect(unmasked(view.getUint32(at + 12 + length, true))).toBe(crc32c(data));
    found.push(data);
    at += 16 + length;
  }
  return found;
}

function unmasked(value: number): number {
  const rotated = (value - 0xa282ead8) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
}

it("an event file holds its version, where it begins, the recipe, and a scalar for each finite number", () => {
  const time = 1_700_000_000_500;
  const log = { step: 7, loss: 0.5, eval_loss: 0.25, kl: Number.NaN, note: "x" };
  const [version, start, recipe, scalars] = records(
    concat([eventFileHead(6, "a: 1\nb: 2", time), logEvent(log, time)]),
  );
  expect(version).toEqual(concat([double(1, 1_700_000_000.5), integer(2, 0), text(3, "brain.Event:2")]));
  expect(start).toEqual(concat([double(1, 1_700_000_000.5), integer(2, 7), message(7, integer(1, 1))]));
  expect(new TextDecoder().decode(recipe)).toContain("    a: 1\n    b: 2");
  const values = [message(1, text(1, "train/loss"), float(2, 0.5)), message(1, text(1, "eval/loss"), float(2, 0.25))];
  expect(scalars).toEqual(concat([double(1, 1_700_000_000.5), integer(2, 7), message(5, ...values)]));
  expect(eventFileName(time, "my host", "12")).toBe("events.out.tfevents.1700000000.my-host.12.0");
});
