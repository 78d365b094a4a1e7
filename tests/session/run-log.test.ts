import { describe, expect, test } from "vitest";
import { memoryFolder } from "../../src/io/memory-folder.ts";
import { openRunLog, readMetrics, readTimedMetrics } from "../../src/session/run-log.ts";

/** Half past midnight: every log is taken then, unless a test moves the clock. */
const now = () => Date.parse("2026-01-02T00:30:00Z");
const clock = ',"time":"2026-01-02T00:30:00.000Z","elapsed":0';
const fresh = { resumeStep: null, now };

async function folderWith(text: string) {
  const folder = memoryFolder("out");
  await folder.write("metrics.jsonl", text);
  return folder;
}

describe("a fresh run", () => {
  test("writes one line per log, step first", async () => {
    const folder = memoryFolder("out");
    const log = await openRunLog(folder, fresh);
    await log.append({ loss: 1.5, step: 1 });
    await log.append({ step: 2, loss: Number.NaN });
    expect(await folder.readText("metrics.jsonl")).toBe(
      `{"step":1,"loss":1.5${clock}}\n{"step":2,"loss":null${clock}}\n`,
    );
    expect(log.records.map(({ step }) => step)).toEqual([1, 2]);
  });

  test("never overwrites another run's log without a flag", async () => {
    const folder = await folderWith('{"step":1,"loss":2}\n');
    await expect(openRunLog(folder, fresh)).rejects.toThrow(/out: it holds the metrics.jsonl of another run/);
    expect(await folder.readText("metrics.jsonl")).toBe('{"step":1,"loss":2}\n');
    const log = await openRunLog(folder, { ...fresh, overwrite: true });
    await log.append({ step: 1, loss: 3 });
    expect(await folder.readText("metrics.jsonl")).toBe(`{"step":1,"loss":3${clock}}\n`);
  });
});

describe("a resumed run", () => {
  test("drops lines after the resumed step, so that each step occurs once", async () => {
    const folder = await folderWith(
      '{"step":4,"loss":4}\n{"step":5,"loss":3}\n{"step":5,"eval_loss":2}\n{"step":6,"loss":1}\n',
    );
    const log = await openRunLog(folder, { resumeStep: 5, now });
    await log.append({ step: 6, loss: 1.25 });
    expect(await folder.readText("metrics.jsonl")).toBe(
      `{"step":4,"loss":4}\n{"step":5,"loss":3}\n{"step":5,"eval_loss":2}\n{"step":6,"loss":1.25${clock}}\n`,
    );
    expect(log.records).toHaveLength(4);
  });

  test("drops an incomplete last line after a crash, even if it looks complete", async () => {
    for (const torn of ['{"step":3,"lo', '{"step":3,"loss":1}']) {
      const folder = await folderWith(`{"step":2,"loss":4}\n${torn}`);
      const log = await openRunLog(folder, { resumeStep: 3, now });
      await log.append({ step: 3, loss: 2 });
      expect(await folder.readText("metrics.jsonl")).toBe(`{"step":2,"loss":4}\n{"step":3,"loss":2${clock}}\n`);
    }
  });

  test("does not need an earlier log, and leaves a good one untouched", async () => {
    const empty = memoryFolder("out");
    expect((await openRunLog(empty, { resumeStep: 5 })).records).toEqual([]);
    const folder = await folderWith('{"step":1,"loss":4}\n');
    folder.write = () => Promise.reject(new Error("nothing needs writing"));
    expect((await openRunLog(folder, { resumeStep: 1 })).records).toEqual([{ step: 1, loss: 4 }]);
  });
});

test("elapsed counts training over all processes of a run, and no break between them", async () => {
  const folder = memoryFolder("out");
  let time = 1_000_000;
  const first = await openRunLog(folder, { resumeStep: null, now: () => time, began: time - 2500 });
  await first.append({ step: 1, loss: 3 });
  time += 4000;
  await first.append({ step: 2, loss: 2 });
  time += 3_600_000; // an hour's break; step 2 is repeated
  const second = await openRunLog(folder, { resumeStep: 1, now: () => time });
  time += 1500;
  await second.append({ step: 2, loss: 2 });
  expect(readTimedMetrics(await folder.readText("metrics.jsonl"), "m")).toEqual([
    { record: { step: 1, loss: 3 }, time: new Date(1_000_000).toISOString(), elapsed: 2.5 },
    { record: { step: 2, loss: 2 }, time: new Date(time).toISOString(), elapsed: 4 },
  ]);
  expect(second.records).toEqual([
    { step: 1, loss: 3 },
    { step: 2, loss: 2 },
  ]);
});

test("a log without a usable clock is still a log", () => {
  const lines = '{"step":1,"loss":2,"time":"soon","elapsed":"x"}\n{"step":2,"elapsed":-1}\n';
  expect(readTimedMetrics(lines, "m")).toEqual([
    { record: { step: 1, loss: 2 }, time: null, elapsed: null },
    { record: { step: 2 }, time: null, elapsed: null },
  ]);
});

test.each([
  ['{"step":1}\nnot json\n{"step":2}\n', /^Cannot read m:2 as a log: /],
  ['{"loss":1}\n', "Cannot read m:1 as a log: step must be an integer of at least 0, got nothing"],
  ["null\n", "Cannot read m:1 as a log: step must be"],
  ['{"step":1.5}\n', "got 1.5"],
])("%j is refused", (text, message) => {
  expect(() => readMetrics(text, "m")).toThrow(message);
});
