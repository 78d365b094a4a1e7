import { describe, expect, test } from "vitest";
import { openRunLog, readMetrics } from "../../src/cli/runs/run-log.ts";
import { memoryFolder } from "../../src/io/memory-folder.ts";

const fresh = { resumeStep: null };

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
    expect(await folder.readText("metrics.jsonl")).toBe('{"step":1,"loss":1.5}\n{"step":2,"loss":null}\n');
    expect(log.records.map(({ step }) => step)).toEqual([1, 2]);
  });

  test("never overwrites another run's log without a flag", async () => {
    const folder = await folderWith('{"step":1,"loss":2}\n');
    await expect(openRunLog(folder, fresh)).rejects.toThrow(/out: it holds the metrics.jsonl of another run/);
    expect(await folder.readText("metrics.jsonl")).toBe('{"step":1,"loss":2}\n');
    const log = await openRunLog(folder, { resumeStep: null, overwrite: true });
    await log.append({ step: 1, loss: 3 });
    expect(await folder.readText("metrics.jsonl")).toBe('{"step":1,"loss":3}\n');
  });
});

describe("a resumed run", () => {
  test("drops lines after the resumed step, so that each step occurs once", async () => {
    const folder = await folderWith(
      '{"step":4,"loss":4}\n{"step":5,"loss":3}\n{"step":5,"eval_loss":2}\n{"step":6,"loss":1}\n',
    );
    const log = await openRunLog(folder, { resumeStep: 5 });
    await log.append({ step: 6, loss: 1.25 });
    expect(await folder.readText("metrics.jsonl")).toBe(
      '{"step":4,"loss":4}\n{"step":5,"loss":3}\n{"step":5,"eval_loss":2}\n{"step":6,"loss":1.25}\n',
    );
    expect(log.records).toHaveLength(4);
  });

  test("drops an incomplete last line after a crash, even if it looks complete", async () => {
    for (const torn of ['{"step":3,"lo', '{"step":3,"loss":1}']) {
      const folder = await folderWith(`{"step":2,"loss":4}\n${torn}`);
      const log = await openRunLog(folder, { resumeStep: 3 });
      await log.append({ step: 3, loss: 2 });
      expect(await folder.readText("metrics.jsonl")).toBe('{"step":2,"loss":4}\n{"step":3,"loss":2}\n');
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

test.each([
  ['{"step":1}\nnot json\n{"step":2}\n', /^Cannot read m:2 as a log: /],
  ['{"loss":1}\n', "Cannot read m:1 as a log: step must be an integer of at least 0, got nothing"],
  ["null\n", "Cannot read m:1 as a log: step must be"],
  ['{"step":1.5}\n', "got 1.5"],
])("%j is refused", (text, message) => {
  expect(() => readMetrics(text, "m")).toThrow(message);
});
