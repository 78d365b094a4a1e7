import { expect, it } from "vitest";
import { concat } from "../../../src/io/memory-folder.ts";
import { crc32 } from "../../../src/io/trackers/crc.ts";
import { integer, message, text } from "../../../src/io/trackers/protobuf.ts";
import { WandbLog, wandbRunNames } from "../../../src/io/trackers/wandb.ts";

const BLOCK = 32768;
const run = { id: "abcd1234", project: "p", name: "n", started: 1_700_000_000_000, host: "h", config: { lr: 1 } };

/** Puts the records of a LevelDB log together again, and checks each piece. */
function records(file: Uint8Array): Uint8Array[] {
  const view = new DataView(file.buffer, file.byteOffset);
  const found: Uint8Array[] = [];
  let pieces: Uint8Array[] = [];
  for (let at = 7; at < file.length; ) {
    const left = BLOCK - (at % BLOCK);
    if (left < 7) {
      expect(file.subarray(at, at + left).every((byte) => byte === 0)).toBe(true);
      at += left;
      continue;
    }
    const length = view.getUint16(at + 4, true);
    expect(view.getUint32(at, true)).toBe(crc32(file.subarray(at + 6, at + 7 + length)));
    expect(7 + length).toBeLessThanOrEqual(left);
    const kind = file[at + 6];
    expect(kind === 1 || kind === 2 ? pieces.length === 0 : pieces.length > 0).toBe(true);
    pieces.push(file.subarray(at + 7, at + 7 + length));
    if (kind === 1 || kind === 4) {
      found.push(concat(pieces));
      pieces = [];
    }
    at += 7 + length;
  }
  return found;
}

it("a run's file holds the run, its logs and its end, in numbered records", () => {
  const log = new WandbLog(run);
  const file = concat([log.head(), log.log({ step: 3, loss: 0.5 }, 1_700_000_002_000), log.end(0, 1_700_000_005_000)]);
  expect([...file.subarray(0, 7)]).toEqual([...new TextEncoder().encode(":W&B"), 0xe1, 0xbe, 0]);
  const found = records(file);
  expect(found).toHaveLength(5);
  const item = (key: string, value: string) => message(1, text(2, key), text(16, value));
  const items = [
    item("train/loss", "0.5"),
    item("train/global_step", "3"),
    item("_step", "3"),
    item("_timestamp", "1700000002"),
    item("_runtime", "2"),
  ];
  expect(found[2]).toEqual(concat([integer(1, 3), message(2, ...items, message(2, integer(1, 3)))]));
  expect(found[4]).toEqual(concat([integer(1, 5), message(18, integer(1, 0), integer(2, 5))]));
});

it("records that cross blocks are cut and come together again", () => {
  const log = new WandbLog({ ...run, config: { long: "x".repeat(3 * BLOCK) } });
  const parts = [log.head()];
  for (let step = 1; step <= 3000; step++) parts.push(log.log({ step, loss: 1 / step, note: "y" }, run.started));
  const found = records(concat(parts));
  expect(found).toHaveLength(3002);
  expect(found[1].length).toBeGreaterThan(3 * BLOCK);
});

it("names its folder as wandb does", () => {
  expect(wandbRunNames(run)).toEqual({
    folder: "offline-run-20231114_221320-abcd1234",
    file: "run-abcd1234.wandb",
  });
});
